"""What an ONNX graph leaves to whoever calls it: from a file to prepared pixels, as JSON beside the graph."""

from __future__ import annotations

from typing import Any

from paribus.export.graph import INPUT, LOGITS, PROBABILITIES
from paribus.predict import TrainedModel


def description(model: TrainedModel) -> dict[str, Any]:
    """Return the content of `NAME.preprocessing.json`, format 1."""
    channels, height, width = model.image_shape
    classes = len(model.class_names)
    return {
        "format": 1,
        "input": {"name": INPUT, "type": "uint8", "shape": ["batch", channels, height, width], "range": [0, 255]},
        "outputs": {
            PROBABILITIES: {"type": "float32", "shape": ["batch", classes]},
            LOGITS: {"type": "float32", "shape": ["batch", classes]},
        },
        "class_names": list(model.class_names),
        "outside": _outside(model),
        "inside": _inside(model),
    }


def _outside(model: TrainedModel) -> list[dict[str, Any]]:
    preparation = model.preparation
    width, height = preparation.inner_size
    grey = model.image_shape[0] == 1
    steps: list[dict[str, Any]] = [
        {"step": "decode", "turn": "upright, as EXIF says", "transparent": "over white", "16 bits": "the upper 8"},
        {
            "step": "resize",
            "width": width,
            "height": height,
            "fit": preparation.fit,
            "filter": _FILTERS[preparation.fit],
        },
        {"step": "channels", "to": "grey (ITU-R 601 luma)" if grey else "RGB; grey three times"},
        {"step": "pad", "pixels": preparation.pad, "value": 0},
        {"step": "order", "axes": "N, C, H, W", "type": "uint8"},
    ]
    return [each for each in steps if each.get("pixels") != 0]


def _inside(model: TrainedModel) -> list[dict[str, Any]]:
    header = model.header
    steps: list[dict[str, Any]] = [{"step": "normalise", "mean": list(header.mean), "std": list(header.std)}]
    if header.backbone is not None:
        side = model.recipe.model.options["input"]
        size = [side, side] if side else header.backbone["input_size"][1:]
        steps.append({"step": "crop", "height": size[0], "width": size[1], "keep": "the middle"})
    return [*steps, {"step": "network"}, {"step": "softmax", "temperature": header.temperature or 1.0}]


_FILTERS = {
    "squash": "bilinear, antialiased, both sides",
    "crop": "bicubic, antialiased, the shorter side; the middle is kept",
}
