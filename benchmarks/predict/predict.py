"""Time trained models in use, beside plain loops of torch, and onnxruntime beside torch, in one session.

images     LeNet-5 on grey 28 x 28 images with a border of 2, images per second: `model.predict` on prepared arrays and
           `classify_files` on PNG files; beside them a loop that reads each file with Pillow, pads it, and gives the
           same module batches of 500
onnx       milliseconds per call of the exported graph by onnxruntime, and of the same module by torch, at batch 1 and
           64: LeNet-5, and MobileNetV2 at 224 x 224 pixels with a head of two classes, as fine-tuning leaves it

Weights are those that training begins with: values do not change times. One thread each; `classify_files` decodes on
all cores, which is in its clock. Imports, loading and export are outside. One round warms up; the ways alternate.

Run with: python benchmarks/predict/predict.py --rounds 7
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import paribus
from paribus.config import Recipe
from paribus.experiment import RunSpec
from paribus.export.graph import onnx_bytes
from paribus.launch import environment
from paribus.models import build_model
from paribus.predict import TrainedModel
from paribus.predict.files import classify_files
from paribus.predict.onnx_model import OnnxModel
from paribus.store import ModelHeader, Usage, write_model
from paribus.transfer import find_weights

HERE = Path(__file__).parent
BATCHES = (1, 64)
IMAGES, FILES, BATCH, PAD = 10_000, 2_000, 500, 2
SECONDS = 0.3
LENET: dict[str, Any] = {
    "data": {"name": "mnist", "pad": PAD},
    "model": {"name": "lenet5", "activation": "relu"},
    "optim": {"name": "sgd", "lr": 0.1},
    "train": {"epochs": 1},
}
BACKBONE = "mobilenetv2_100.tf_in1k"
TUNED: dict[str, Any] = {
    "data": {"name": "dogs-vs-cats", "size": 224, "fit": "crop"},
    "model": {"name": "pretrained", "weights": BACKBONE, "train": "all"},
    "optim": {"name": "sgd", "lr": 0.1},
    "train": {"epochs": 1},
}


def model_of(folder: Path, tables: dict[str, Any], shape: tuple[int, int, int], classes: int) -> TrainedModel:
    """Return a model whose weights are those that training begins with."""
    recipe = Recipe.parse(tables)
    network = build_model(recipe.model, shape, classes, 0)
    mean, std, backbone = (33.0,) * shape[0], (78.0,) * shape[0], None
    if recipe.model.name == "pretrained":
        mean, std, backbone = (127.5,) * 3, (127.5,) * 3, find_weights(BACKBONE).to_json()
    usage = Usage(tuple(map(str, range(classes))), shape, mean, std, None, "not fitted", backbone)
    header = ModelHeader.of("benchmark", RunSpec("control", 0, recipe, "none", "torch-1"), usage)
    path = folder / f"{recipe.model.name}.safetensors"
    write_model(path, header, {name: tensor.numpy() for name, tensor in network.state_dict().items()})
    return paribus.load(path)


def plain_arrays(module: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """Classify as a loop of one's own would."""
    with torch.inference_mode():
        parts = [torch.softmax(module(part), dim=1) for part in torch.from_numpy(images).split(BATCH)]
    return torch.cat(parts).numpy()


def plain_files(module: torch.nn.Module, names: list[str]) -> np.ndarray:
    """Read, pad and classify as a loop of one's own would."""
    read = [np.pad(np.asarray(Image.open(name).convert("L")), PAD) for name in names]
    return plain_arrays(module, np.stack(read)[:, None])


def per_second(work: Callable[[], Any], images: int) -> float:
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


def ms_per_call(work: Callable[[], Any]) -> float:
    """Return the milliseconds of a call, from as many as fit into a while."""
    calls, start = 0, time.perf_counter()
    while calls < 1 or time.perf_counter() - start < SECONDS:
        work()
        calls += 1
    return 1000 * (time.perf_counter() - start) / calls


def throughput(model: TrainedModel, folder: Path) -> Callable[[], list[dict[str, Any]]]:
    """Return what times LeNet-5 once on arrays and on files."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, *model.image_shape), dtype=np.uint8)
    names = [str(folder / f"{number}.png") for number in range(FILES)]
    for name, image in zip(names, images, strict=False):
        Image.fromarray(image[0, PAD:-PAD, PAD:-PAD]).save(name)
    module = model.module()
    ways: dict[tuple[str, str], tuple[Callable[[], Any], int]] = {
        ("arrays", "paribus"): (lambda: model.predict(images), IMAGES),
        ("arrays", "plain loop"): (lambda: plain_arrays(module, images), IMAGES),
        ("files", "paribus"): (lambda: list(classify_files(model, names)), FILES),
        ("files", "plain loop"): (lambda: plain_files(module, names), FILES),
    }

    def once() -> list[dict[str, Any]]:
        return [
            {"what": what, "way": way, "images_per_s": round(per_second(*work), 1)}
            for (what, way), work in ways.items()
        ]

    return once


def exported(name: str, model: TrainedModel, folder: Path) -> Callable[[], list[dict[str, Any]]]:
    """Return what times a network once by torch and by onnxruntime."""
    file = folder / f"{name}.onnx"
    file.write_bytes(onnx_bytes(model))
    session, module = OnnxModel(file, threads=1), model.module()
    images = {
        batch: np.random.default_rng(0).integers(0, 256, (batch, *model.image_shape), dtype=np.uint8)
        for batch in BATCHES
    }

    def by_torch(batch: int) -> None:
        with torch.inference_mode():
            module(torch.from_numpy(images[batch]))

    def once() -> list[dict[str, Any]]:
        rows = []
        for batch in BATCHES:
            ways = {"torch": lambda: by_torch(batch), "onnxruntime": lambda: session.logits(images[batch])}  # noqa: B023
            for way, work in ways.items():
                rows.append({"what": f"{name}, batch {batch}", "way": way, "ms_per_call": round(ms_per_call(work), 4)})
        return rows

    return once


def figures(rows: list[dict[str, Any]], what: str, way: str, key: str) -> list[float]:
    return [float(row[key]) for row in rows if (row["what"], row["way"]) == (what, way)]


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} | {min(values):{form}} to {max(values):{form}}"


def table(rows: list[dict[str, Any]], rounds: int) -> str:
    """Return medians with their spread, and ratios of medians."""
    lines = [
        f"LeNet-5 on 28 x 28 images with a border of 2, images per second, n = {rounds}, alternating, on a "
        f"machine that others use too; one thread, files decoded on all cores. {IMAGES:,} arrays, {FILES:,} PNG files. "
        "Made by `predict.py`.",
        "",
        "| images from | paribus | spread | plain torch loop | spread | paribus / plain |",
        "|---|---|---|---|---|---|",
    ]
    for what in ("arrays", "files"):
        ours, theirs = (figures(rows, what, way, "images_per_s") for way in ("paribus", "plain loop"))
        ratio = statistics.median(ours) / statistics.median(theirs)
        lines.append(f"| {what} | {spread(ours, ',.0f')} | {spread(theirs, ',.0f')} | {ratio:.2f} |")
    lines += [
        "",
        "Milliseconds per call, from prepared pixels to logits, one thread.",
        "",
        "| network, batch | torch | spread | onnxruntime | spread | torch / onnxruntime |",
        "|---|---|---|---|---|---|",
    ]
    for what in dict.fromkeys(row["what"] for row in rows if row.get("ms_per_call")):
        by_torch, by_onnx = (figures(rows, what, way, "ms_per_call") for way in ("torch", "onnxruntime"))
        ratio = statistics.median(by_torch) / statistics.median(by_onnx)
        lines.append(f"| {what} | {spread(by_torch, '.2f')} | {spread(by_onnx, '.2f')} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lenet = model_of(folder, LENET, (1, 28 + 2 * PAD, 28 + 2 * PAD), 10)
        tuned = model_of(folder, TUNED, (3, 224, 224), 2)
        parts = [throughput(lenet, folder), exported("LeNet-5", lenet, folder), exported("MobileNetV2", tuned, folder)]
        for number in range(-1, rounds):
            for row in (row for once in parts for row in once()):
                print(number, row, flush=True)
                rows += [row | {"round": number}] if number >= 0 else []
    with (HERE / "predict.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["round", "what", "way", "images_per_s", "ms_per_call"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    about = environment.describe("torch-1", 1, 1)
    (HERE / "predict.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (HERE / "predict.md").write_text(table(rows, rounds), encoding="utf-8")
    print(table(rows, rounds))


if __name__ == "__main__":
    main()
