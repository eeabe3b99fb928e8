"""Time an epoch of dogs-vs-cats' 202 training photos as tensors, and random changes by themselves, in one session.

loader     `paribus.Loader`, photos decoded once to 256 x 256 pixels
folder     torch's `DataLoader` on torchvision's `ImageFolder`, which decodes in every epoch, with no, or two workers
           that stay from epoch to epoch

Each with two recipes: "crop" is a random resized crop to 224 pixels, flips and normalisation, "colour" brightness,
contrast, saturation and hue besides. The first epoch counts apart. For paribus it starts with an empty cache: all 756
photos of train, val and test are decoded and written, where the folder decodes the 202 of train. For the folder it
starts the workers. Clocks run from before the data set is opened, or the epoch begun, until the last batch is there;
imports are outside. The files are in the system's cache: one round warms up.

changes    milliseconds per image for the changes alone: `Augmenter` on a batch of 32, and torchvision's transforms.v2
           on each image: on bytes, but for the Augmenter's colours, which come when a batch is floats; median of 3

Each round times all of them one after the other. Run with: python benchmarks/loader/loader.py --rounds 5
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import paribus
from paribus.augment import Augmenter
from paribus.config import AugmentConfig
from paribus.data import search_folders
from paribus.launch import environment
from paribus.transfer import Preprocessing

HERE = Path(__file__).parent
BATCH, SIZE, INPUT = 32, 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CROP: dict[str, Any] = {"crop_scale": [0.08, 1.0], "hflip": True}
COLOUR: dict[str, Any] = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
RECIPES = {"crop": CROP, "colour": CROP | COLOUR}
LATER_EPOCHS = 3
CHANGES: dict[str, tuple[AugmentConfig, v2.Transform]] = {
    "random resized crop": (
        AugmentConfig.parse({"crop_scale": [0.08, 1.0]}),
        v2.RandomResizedCrop(INPUT, antialias=True),
    ),
    "brightness, contrast, saturation": (
        AugmentConfig.parse({name: COLOUR[name] for name in ("brightness", "contrast", "saturation")}),
        v2.ColorJitter(0.4, 0.4, 0.4),
    ),
    "hue": (AugmentConfig.parse({"hue": 0.1}), v2.ColorJitter(hue=0.1)),
}
Epochs = Callable[[str, Path], Iterable[Iterable[Any]]]


def ours(recipe: str, _: Path) -> Iterable[Iterable[Any]]:
    """One loader, for each epoch."""
    photos = paribus.load_data("dogs-vs-cats", size=SIZE, fit="crop")
    shown = Preprocessing((INPUT, INPUT), MEAN, STD)
    loader = paribus.Loader(paribus.Images(photos, augment=RECIPES[recipe], preprocessing=shown), BATCH)
    return [loader] * (1 + LATER_EPOCHS)


def folder(workers: int) -> Epochs:
    """Torch's way with some workers, for each epoch."""

    def epochs(recipe: str, source: Path) -> Iterable[Iterable[Any]]:
        jitter = [v2.ColorJitter(0.4, 0.4, 0.4, 0.1)] if recipe == "colour" else []
        changes = [v2.RandomResizedCrop(INPUT, antialias=True), v2.RandomHorizontalFlip(), *jitter]
        tensors = [v2.PILToTensor(), *changes, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        images = ImageFolder(source / "train", v2.Compose(tensors))
        loader = DataLoader(images, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
        return [loader] * (1 + LATER_EPOCHS)

    return epochs


WAYS: dict[str, Epochs] = {"loader": ours, "folder, 0 workers": folder(0), "folder, 2 workers": folder(2)}


def epoch_seconds(epochs: Epochs, recipe: str, source: Path) -> tuple[float, float]:
    """Return the seconds of the first epoch, with an empty cache, and the median of later ones."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["PARIBUS_CACHE"] = cache
        seconds, start = [], time.perf_counter()
        for epoch in epochs(recipe, source):
            images = sum(len(labels) for _, labels in epoch)
            assert images == 202
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
    return seconds[0], statistics.median(seconds[1:])


def change_ms(name: str, images: torch.Tensor) -> tuple[float, float]:
    """Return milliseconds per image of the augmenter and of torchvision."""
    config, transform = CHANGES[name]
    augmenter, indices = Augmenter(config, 0, 1, len(images), size=(INPUT, INPUT)), torch.arange(len(images))
    floats = images.float().contiguous(memory_format=torch.channels_last)
    ours, theirs = [], []
    for _ in range(3):
        start = time.perf_counter()
        if config.crop_scale is not None:
            augmenter.crop(images, indices)
        else:
            augmenter.apply(floats, indices)
        between = time.perf_counter()
        for image in images:
            transform(image)
        ours.append(1000 * (between - start) / len(images))
        theirs.append(1000 * (time.perf_counter() - between) / len(images))
    return statistics.median(ours), statistics.median(theirs)


def one_round(source: Path, images: torch.Tensor) -> list[dict[str, Any]]:
    """Time everything once, as rows."""
    rows = []
    for recipe in RECIPES:
        for way, epochs in WAYS.items():
            first, later = epoch_seconds(epochs, recipe, source)
            rows.append({"what": recipe, "way": way, "first_s": round(first, 4), "later_s": round(later, 4)})
    for name in CHANGES:
        size = images if name == "random resized crop" else images[:, :, :INPUT, :INPUT].contiguous()
        for way, ms in zip(("Augmenter", "transforms.v2"), change_ms(name, size), strict=True):
            rows.append({"what": name, "way": way, "ms_per_image": round(ms, 4)})
    return rows


def middle(rows: list[dict[str, Any]], what: str, way: str, key: str) -> tuple[float, str]:
    """Return the median over rounds, and its spread as text."""
    values = [row[key] for row in rows if (row["what"], row["way"]) == (what, way)]
    return statistics.median(values), f"{min(values):.2f} to {max(values):.2f}"


def table(rows: list[dict[str, Any]], rounds: int, threads: int) -> str:
    """Return medians with their spread."""
    lines = [
        f"An epoch of 202 photos (dogs-vs-cats, train) as batches of {BATCH} tensors, seconds, n = {rounds}, "
        f"alternating, on a machine that others use too; {threads} thread in the main process. Median and spread over "
        "rounds. The loader's first epoch decodes all 756 photos of train, val and test, the folder's the 202 of "
        "train. Made by `loader.py`.",
        "",
        "| recipe | way | first epoch | spread | later epochs | spread | epochs per second |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe in RECIPES:
        for way in WAYS:
            (first, about_first), (later, about) = (middle(rows, recipe, way, key) for key in ("first_s", "later_s"))
            lines.append(
                f"| {recipe} | {way} | {first:.2f} | {about_first} | {later:.2f} | {about} | {1 / later:.2f} |"
            )
    lines += [
        "",
        f"The changes alone, milliseconds per image of {INPUT} x {INPUT} pixels.",
        "",
        "| change | Augmenter, a batch of 32 | spread | transforms.v2, image by image | spread |",
        "|---|---|---|---|---|",
    ]
    for name in CHANGES:
        (own, own_spread), (peer, peer_spread) = (
            middle(rows, name, way, "ms_per_image") for way in ("Augmenter", "transforms.v2")
        )
        lines.append(f"| {name} | {own:.2f} | {own_spread} | {peer:.2f} | {peer_spread} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = next(each / "dogs-vs-cats" for each in search_folders() if (each / "dogs-vs-cats" / "train").is_dir())
    images = torch.from_numpy(paribus.load_data("dogs-vs-cats", size=SIZE, fit="crop").train.images[:32].copy())
    rows: list[dict[str, Any]] = []
    for number in range(-1, options.rounds):
        for row in one_round(source, images):
            print(number, row, flush=True)
            rows += [row | {"round": number}] if number >= 0 else []
    with (HERE / "loader.csv").open("w", newline="", encoding="utf-8") as file:
        keys = ["round", "what", "way", "first_s", "later_s", "ms_per_image"]
        writer = csv.DictWriter(file, fieldnames=keys, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    about = environment.describe("torch-1", 1, options.threads)
    (HERE / "loader.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (HERE / "loader.md").write_text(table(rows, options.rounds, options.threads), encoding="utf-8")
    print(table(rows, options.rounds, options.threads))


if __name__ == "__main__":
    main()
