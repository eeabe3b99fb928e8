"""A trained network as an ONNX graph: from prepared pixels to probabilities, with its header in the metadata."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from paribus.errors import ExportError
from paribus.predict import TrainedModel
from paribus.store.model_file import KEY

INPUT, PROBABILITIES, LOGITS = "images", "probabilities", "logits"
BATCH = "batch"
"""What the axis of the images is called, whose length is free."""
_TRACED_WITH = 2


class _Answers(nn.Module):
    """From prepared images to probabilities and logits."""

    def __init__(self, module: nn.Module, temperature: float | None) -> None:
        super().__init__()
        self.module, self.temperature = module, temperature or 1.0

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.module(images)
        return torch.softmax(logits / self.temperature, dim=1), logits


def onnx_bytes(model: TrainedModel) -> bytes:
    """Return the ONNX file of a model.

    Its input `images` is uint8 (N, C, H, W), prepared pixels, any number N of them; normalisation, a pretrained
    network's crop and the temperature are inside. `probabilities` and `logits` are float32 (N, num_classes).

    Raises:
        ExportError: If torch cannot export the network.
        ModelError: If the model is no network of torch's.
    """
    answers = _Answers(model.module(), model.temperature).eval()
    images = torch.zeros(_TRACED_WITH, *model.image_shape, dtype=torch.uint8)
    file: Any = io.BytesIO()  # Which torch writes into, though its types forget it.
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            # The exporter that traces is much the faster and needs no further package; what it warns of, that a trace
            # may hold for one shape only, is what the certificate finds out. What it prints is for its authors.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                answers,
                (images,),
                file,
                dynamo=False,
                input_names=[INPUT],
                output_names=[PROBABILITIES, LOGITS],
                dynamic_axes={name: {0: BATCH} for name in (INPUT, PROBABILITIES, LOGITS)},
            )
    except Exception as error:  # Whatever a user's network does that has no counterpart in ONNX.
        raise ExportError(
            f"torch must be able to write `{model.recipe.model.name}` as ONNX, but raised {type(error).__name__}: "
            f"{str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}. Use operators that "
            "ONNX has, or export `--to safetensors`."
        ) from error
    return _with_metadata(file.getvalue(), model)


def _with_metadata(content: bytes, model: TrainedModel) -> bytes:
    import onnx

    from paribus import __version__

    graph = onnx.load_from_string(content)
    graph.producer_name, graph.producer_version = "paribus", __version__
    graph.doc_string = f"{model.header.experiment}, arm {model.arm}, seed {model.seed}"
    told = {KEY: model.header.to_text(), "class_names": json.dumps(list(model.class_names), ensure_ascii=False)}
    onnx.helper.set_model_props(graph, told)
    onnx.checker.check_model(graph)
    written: bytes = graph.SerializeToString()
    return written
