"""Trained networks kept at hand, and what they say of a drawing or an image and see in it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from paribus.errors import DataError, ModelError, StoreError, one_of
from paribus.store import Results
from paribus.web import pictures
from paribus.web.drawing import DrawingError, Frame, ink_on
from paribus.web.replies import RefusedError, shown
from paribus.web.uploads import MOST_DRAWN_PIXELS, MOST_PIXELS, require_image

if TYPE_CHECKING:
    from paribus.predict import Classified, TrainedModel
    from paribus.web.insight import Insight

Pixels = npt.NDArray[np.uint8]
Kind = Literal["drawing", "image"]
MOST_MODELS = 4
"""How many networks are kept at hand."""


class Chance(BaseModel):
    """One class and how probable a network finds it."""

    name: str
    probability: float = Field(ge=0, le=1)


class Picture(BaseModel):
    """A picture: a PNG as a `data:` address, its size in pixels, and what is on it."""

    source: str
    width: int
    height: int
    text: str


class Answer(BaseModel):
    """What one network says of the image, and sees in it.

    `classes` come in the network's own order, and `best` is the most probable. `seen` is what the network was given;
    `maps` are what its first convolutions made of it, one sheet each. `attention` lies over `seen` and shows what spoke
    for `best` (Grad-CAM); where there is none, `attention_text` says why.
    """

    arm: str
    seed: int
    best: Chance
    classes: list[Chance]
    is_calibrated: bool
    seen: Picture
    maps: list[Picture]
    attention: Picture | None
    attention_text: str
    notes: list[str]


class Answers(BaseModel):
    """What the asked networks say of one drawing or image, in the order in which they were asked."""

    answers: list[Answer]


@dataclass(frozen=True)
class Asked:
    """What is to be looked at: `content` is an image file, `inverts` whether black and white change places first."""

    arms: tuple[str, ...]
    seed: int
    kind: Kind
    inverts: bool
    content: bytes


@dataclass(frozen=True)
class _Loaded:
    """A network at hand: what changes when its file does, and the frame of drawings for it with how that was found.

    Only one look at a time may watch its layers.
    """

    model: TrainedModel
    signature: tuple[int, int]
    frame: Frame | None
    frame_note: str
    lock: Lock = field(default_factory=Lock)


class Workbench:
    """Looks at images with the trained networks of result folders, of which the last few used stay in memory."""

    def __init__(self) -> None:
        self._models: OrderedDict[Path, _Loaded] = OrderedDict()
        self._lock = Lock()

    def answers(self, results: Results, asked: Asked) -> Answers:
        """Look at an image with one network after the other.

        Raises:
            RefusedError: If the image is none, or too large, or there is no such run.
        """
        require_image(asked.content, MOST_DRAWN_PIXELS if asked.kind == "drawing" else MOST_PIXELS)
        return Answers(answers=[self._answer(results, arm, asked) for arm in asked.arms])

    def _answer(self, results: Results, arm: str, asked: Asked) -> Answer:
        loaded = self._loaded(run_folder(results, arm, asked.seed))
        model = loaded.model
        image, notes = _prepared(loaded, asked)
        with loaded.lock:
            classified = _classified(model, image)
            label = int(classified.classes[0])
            insight = _insight(model, image, label)
        chances = [
            Chance(name=name, probability=min(max(float(each), 0.0), 1.0))
            for name, each in zip(model.class_names, classified.probabilities[0], strict=True)
        ]
        seen = _seen(model, image, insight)
        attention = insight.attention
        return Answer(
            arm=arm,
            seed=asked.seed,
            best=chances[label],
            classes=chances,
            is_calibrated=model.temperature is not None,
            seen=_picture(seen, "What the network is given"),
            maps=[_sheet(each.layer, each.values) for each in insight.maps],
            attention=None if attention is None else _picture(pictures.highlight(attention), "Where it looks"),
            attention_text=insight.reason or f"What speaks for this class in the maps of {insight.attention_layer}",
            notes=notes,
        )

    def _loaded(self, folder: Path) -> _Loaded:
        """Return a run's network; loading holds up who needs another, as two copies would need twice the memory."""
        with self._lock:
            signature = _signature(folder)
            known = self._models.get(folder)
            if known is None or known.signature != signature:
                self._models[folder] = known = _load(folder, signature)
            self._models.move_to_end(folder)
            while len(self._models) > MOST_MODELS:
                self._models.popitem(last=False)
            return known


def run_folder(results: Results, arm: str, seed: int) -> Path:
    """Return the folder of a finished run.

    Raises:
        RefusedError: If there is no such arm, or no such run is finished.
    """
    arms = results.experiment.arms
    if arm not in arms:
        raise RefusedError(404, one_of("An arm", arms, shown(arm)))
    if seed not in finished_seeds(results, arm):
        raise RefusedError(
            404, f"A run must be finished before it can be tried, but `{arm}` has none of seed {shown(str(seed))}."
        )
    return results.run_folder(arm, seed)


def finished_seeds(results: Results, arm: str) -> list[int]:
    """Return the seeds of an arm whose runs have left a network; baselines, such as the larger class, leave none."""
    model = results.experiment.arms[arm].recipe.model
    if model.trains_head and model.options["head"] != "logistic":
        return []
    files = ("result.json", "model.safetensors")
    folders = {seed: results.run_folder(arm, seed) for seed in results.experiment.seeds_of(arm)}
    return [seed for seed, folder in folders.items() if all((folder / name).is_file() for name in files)]


def _signature(folder: Path) -> tuple[int, int]:
    stat = (folder / "model.safetensors").stat()
    return stat.st_mtime_ns, stat.st_size


def _load(folder: Path, signature: tuple[int, int]) -> _Loaded:
    from paribus.predict import load

    try:
        model = load(folder)
        frame, note = _frame_for(model)
    except (ModelError, StoreError, DataError) as error:
        raise RefusedError(409, f"This run cannot be tried. {error}") from None
    return _Loaded(model, signature, frame, note)


def _frame_for(model: TrainedModel) -> tuple[Frame | None, str]:
    """Return how ink lies in the training images, at the source's own size, and where that is known from."""
    from paribus.data import SOURCES, load_prepared
    from paribus.data.sources import cache_folder

    data, (channels, height, width) = model.recipe.data, model.image_shape
    inner = (height - 2 * data.pad, width - 2 * data.pad)
    prepared = cache_folder() / "prepared" / model.header.data_fingerprint
    if prepared.is_dir():
        images = load_prepared(prepared).train.images
        frame = Frame.of(images[:, :, data.pad : height - data.pad, data.pad : width - data.pad])
        note = "as it lies in the training images" if frame else "The training images are no ink on plain ground"
    elif channels == 1:
        frame = Frame.as_mnist(inner, float(model.normalisation.mean.mean()))
        note = "as it lies in MNIST, since the training images are not at hand"
    else:
        return None, "The training images are not at hand, and have colours"
    source = SOURCES.get(data.name)
    known = None if source is None else source.image_shape
    return (frame if frame is None or known is None else frame.at(known[1:])), note


def _prepared(loaded: _Loaded, asked: Asked) -> tuple[Pixels, list[str]]:
    """Return the image (C, H, W) for one network, and what is to be said of how it came to be."""
    from paribus.data.pixels import UnreadableImageError, decode

    model = loaded.model
    try:
        if asked.kind == "drawing" and loaded.frame is not None:
            return _drawn(model, loaded.frame, decode(asked.content)), [_told(loaded.frame, loaded.frame_note)]
        image = model.prepare(asked.content, invert=asked.inverts)
    except UnreadableImageError as error:
        raise RefusedError(422, f"An image must be whole, but this one is not: {shown(str(error))}.") from None
    except DrawingError as error:
        raise RefusedError(422, str(error)) from None
    if asked.kind == "drawing":
        return image, [f"{loaded.frame_note}, so that the drawing went in whole, like a picture."]
    if model.negatives(image[None])[0]:
        return image, [
            "This image looks like a negative of those that the network was trained on, so that its answer means "
            "little. Let black and white change places."
        ]
    return image, []


def _drawn(model: TrainedModel, frame: Frame, drawing: Pixels) -> Pixels:
    from paribus.data.pixels import padded, resized

    data = model.recipe.data
    placed = resized(frame.place(ink_on(drawing))[None, None], data.size)
    return np.repeat(padded(placed, data.pad)[0], model.image_shape[0], axis=0)


def _told(frame: Frame, note: str) -> str:
    how = "centre of mass" if frame.by_mass else "middle"
    return (
        f"The ink is scaled to at most {round(frame.height)} x {round(frame.width)} of {frame.shape[0]} x "
        f"{frame.shape[1]} pixels and placed by its {how}, {note}."
    )


def _classified(model: TrainedModel, image: Pixels) -> Classified:
    try:
        return model.predict(image[None])
    except ModelError as error:
        raise RefusedError(409, str(error)) from None


def _insight(model: TrainedModel, image: Pixels, label: int) -> Insight:
    import torch

    from paribus.web.insight import look

    pixels = torch.from_numpy(image[None].astype(np.float32))
    return look(model.network, model.normalisation.apply(pixels), label)


def _seen(model: TrainedModel, image: Pixels, insight: Insight) -> Pixels:
    """Return what the first convolution was given, in units of 0 to 255; the image itself where that is no image."""
    mean, std = model.normalisation.mean.numpy()[0], model.normalisation.std.numpy()[0]
    if insight.seen is None or len(insight.seen) != len(mean):
        return pictures.picture(image.astype(np.float32))
    return pictures.picture(insight.seen * std + mean)


def _picture(pixels: Pixels, text: str) -> Picture:
    height, width = pixels.shape[:2]
    return Picture(source=pictures.data_url(pixels), width=width, height=height, text=text)


def _sheet(layer: str, maps: npt.NDArray[np.float32]) -> Picture:
    count, height, width = maps.shape
    first = f"the first {pictures.MOST_MAPS} of " if count > pictures.MOST_MAPS else ""
    return _picture(pictures.sheet(maps), f"{layer}: {first}{count} maps of {height} x {width}, each scaled by itself")
