"""Time an epoch of LeNet-5 on MNIST three ways, alternating in one session, and write a row per run.

tutorial   DataLoader over PIL images with ToTensor and Normalize, as most tutorials have it
tuned      a hand-written loop over tensors in memory, the better of contiguous and channels_last
paribus    this package's torch engine, through `Engine.fit`, less its validation pass

Inside the clock: batches, forward, backward, update, over all training images. Outside: reading files, building the
model, one warm-up epoch of each. Run with: python benchmarks/engine/epoch.py --rounds 5
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from paribus import data
from paribus.config import DataConfig, Recipe
from paribus.engines.torch_engine import TorchRun
from paribus.experiment import RunSpec
from paribus.launch import environment

HERE = Path(__file__).parent
NETS = {"tanh-avg": ("tanh", "avg"), "relu-max": ("relu", "max")}


def network(activation: str, pooling: str) -> nn.Module:
    """LeNet-5 at 32 x 32 pixels, as a person would write it."""
    act = {"tanh": nn.Tanh, "relu": nn.ReLU}[activation]
    pool = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}[pooling]
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), act(), pool(2), nn.Conv2d(6, 16, 5), act(), pool(2), nn.Flatten()),
        *(nn.Linear(400, 120), act(), nn.Linear(120, 84), act(), nn.Linear(84, 10)),
    )


def tutorial(net: str, batch_size: int, dataset: data.Dataset) -> Callable[[], None]:
    """The way of the tutorials: PIL images, a transform per image, a DataLoader."""
    images = dataset.train.images[:, 0]
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])

    class Images(Dataset[tuple[torch.Tensor, int]]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(transforms.functional.to_pil_image(images[index])), int(dataset.train.labels[index])

    loader = DataLoader(Images(), batch_size=batch_size, shuffle=True)
    model = network(*NETS[net])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def epoch() -> None:
        for batch, labels in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(batch), labels).backward()
            optimizer.step()

    return epoch


def tuned(net: str, batch_size: int, dataset: data.Dataset, channels_last: bool) -> Callable[[], None]:
    """The best hand-written loop we know: everything in memory, normalised once, gathered by index."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.from_numpy(dataset.train.images).float().div_(255).sub_(0.1307).div_(0.3081)
    labels = torch.from_numpy(dataset.train.labels)
    model = network(*NETS[net]).to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=True)

    def epoch() -> None:
        loss_sum = torch.zeros(())
        for indices in torch.randperm(len(labels)).split(batch_size):
            loss = functional.cross_entropy(model(images[indices].contiguous(memory_format=layout)), labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach()
        assert torch.isfinite(loss_sum)

    return epoch


def paribus_engine(net: str, batch_size: int, dataset: data.Dataset) -> Callable[[], None]:
    """The torch engine's own epoch, with its records of loss, accuracy and gradient norm."""
    activation, pooling = NETS[net]
    recipe = Recipe.parse(
        {
            "data": {"name": "mnist", "pad": 2, "val": 10},
            "model": {"name": "lenet5", "activation": activation, "pooling": pooling},
            "optim": {"lr": 0.1},
            "train": {"epochs": 1, "batch_size": batch_size},
        }
    )
    run = TorchRun(RunSpec("arm", 0, recipe, dataset.fingerprint, "torch"), dataset)

    def epoch() -> None:
        run.epoch(1)

    return epoch


def timed(epoch: Callable[[], None]) -> float:
    """Return the seconds of one epoch."""
    start = time.perf_counter()
    epoch()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepared = data.prepare(DataConfig(name="mnist", pad=2), options.data_dir)
    dataset = data.load_prepared(prepared.folder)
    rows = []
    for net in NETS:
        arguments = (net, options.batch_size, dataset)
        ways = {
            "paribus": paribus_engine(*arguments),
            "tuned": tuned(*arguments, channels_last=False),
            "tuned, channels_last": tuned(*arguments, channels_last=True),
            "tutorial": tutorial(*arguments),
        }
        for epoch in ways.values():
            epoch()  # Warm-up.
        for number in range(options.rounds):
            for way, epoch in ways.items():
                rows.append({"net": net, "way": way, "round": number, "seconds": round(timed(epoch), 3)})
                print(rows[-1], flush=True)
    write(rows, options)


def write(rows: list[dict[str, object]], options: argparse.Namespace) -> None:
    """Write the rows, the environment, and the table made from them."""
    with (HERE / "epoch.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    about = environment.describe("torch-1", 1, options.threads) | {"batch_size": options.batch_size}
    (HERE / "epoch.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (HERE / "epoch.md").write_text(table(rows, options.rounds), encoding="utf-8")
    print(table(rows, options.rounds))


def table(rows: list[dict[str, object]], rounds: int) -> str:
    """Return medians, spread, and the ratio to paribus round by round."""
    lines = [
        f"An epoch of LeNet-5 on MNIST (60,000 images), seconds, n = {rounds}, alternating. Made by `epoch.py`.",
        "",
        "| net | way | median | min to max | times paribus (median of rounds) |",
        "|---|---|---|---|---|",
    ]
    for net in NETS:
        ours = [float(str(r["seconds"])) for r in rows if r["net"] == net and r["way"] == "paribus"]
        for way in dict.fromkeys(str(r["way"]) for r in rows):
            seconds = [float(str(r["seconds"])) for r in rows if r["net"] == net and r["way"] == way]
            ratio = statistics.median(one / other for one, other in zip(seconds, ours, strict=True))
            spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
            lines.append(f"| {net} | {way} | {statistics.median(seconds):.2f} | {spread} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
