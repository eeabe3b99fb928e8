"""An epoch of fine-tuning MobileNetV2 on sign-digits: by the torch engine, and by a loop that is tuned by hand.

All see the same 256 training images of 128 pixels in batches of 32, without augmentation, and update by AdamW; batch
normalisation is in training mode. Each way has a process of its own: the engine's is started as paribus starts its
workers, with their settings of the C library's allocator, the loop's as one's own script is, and once more with those
settings. To each line on its stdin a process trains for an epoch, and prints the mean training loss and the seconds.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch.nn import functional

from paribus.config import Recipe
from paribus.data import Dataset, Split, load_data
from paribus.engines.torch_engine import TorchRun
from paribus.experiment import RunSpec
from paribus.processes import environment
from paribus.transfer import find_weights

Epoch = Callable[[], float]
IMAGES, SIZE, BATCH_SIZE, LR = 256, 128, 32, 0.0003
WEIGHTS = "mobilenetv2_100.tf_in1k"


def some_images() -> Split:
    """Return the training images, evenly spaced over the classes."""
    train = load_data("sign-digits", size=SIZE).train
    chosen = np.linspace(0, len(train) - 1, IMAGES).astype(np.int64)
    return Split(train.images[chosen], train.labels[chosen])


def engine(train: Split, what: str) -> Epoch:
    """The torch engine's own passes, with all their records; `what` is `model.train`."""
    recipe = Recipe.parse(
        {
            "data": {"name": "sign-digits", "size": SIZE},
            "model": {
                "name": "pretrained",
                "weights": WEIGHTS,
                "train": what,
                "input": SIZE,
                "batch_norm": "update",
            },
            "optim": {"name": "adamw", "lr": LR},
            "train": {"epochs": 1, "batch_size": BATCH_SIZE},
        }
    )
    few = Split(train.images[:10], train.labels[:10])  # No pass over train looks at val or test.
    dataset = Dataset("sign-digits", f"sign-digits, {IMAGES} of them", tuple("0123456789"), train, few, few)
    run = TorchRun(RunSpec("arm", 0, recipe, dataset.fingerprint, "torch"), dataset)
    number = itertools.count(1)

    def epoch() -> float:
        sums = run.pass_over_train(next(number))
        return sums.loss / sums.examples

    return epoch


def tuned(train: Split) -> Epoch:
    """All images as bytes in memory, channels last, normalised by the batch, the fused update."""
    weights = find_weights(WEIGHTS)
    assert weights.file is not None
    network = timm.create_model(weights.architecture, num_classes=weights.num_classes, **weights.model_args)
    network.load_state_dict(load_file(weights.file), strict=False)  # Counters of batch normalisation may be absent.
    network.reset_classifier(10)
    network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, fused=True)
    images = torch.from_numpy(train.images).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(train.labels)
    mean, std = (255 * torch.tensor(each).view(1, -1, 1, 1) for each in (weights.mean, weights.std))

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for indices in torch.randperm(len(labels)).split(BATCH_SIZE):
            yield images[indices].float().sub_(mean).div_(std), labels[indices]

    def epoch() -> float:
        loss_sum = torch.zeros(())
        for inputs, targets in batches():
            loss = functional.cross_entropy(network(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(targets)
        return loss_sum.item() / len(labels)

    return epoch


def start(way: str) -> Epochs:
    """Start a way's process, with one thread."""
    settings = environment() if WAYS[way].as_worker else os.environ | {"OMP_NUM_THREADS": "1"}
    return Epochs(way, settings)


class Epochs:
    """A way's process."""

    def __init__(self, way: str, settings: Mapping[str, str]) -> None:
        command = [sys.executable, __file__, way]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(settings), text=True
        )

    def next(self) -> tuple[float, float]:
        """Train for an epoch; return the loss and the seconds."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        loss, seconds = self.process.stdout.readline().split()
        return float(loss), float(seconds)


def serve(way: str) -> None:
    """Train for an epoch for each line of stdin."""
    epoch = WAYS[way].build(some_images())
    for _ in sys.stdin:
        begin = time.perf_counter()
        loss = epoch()
        print(loss, time.perf_counter() - begin, flush=True)


@dataclass(frozen=True)
class Way:
    """How a way is built from the images, and whether its process is started as a worker is."""

    build: Callable[[Split], Epoch]
    as_worker: bool


WAYS = {
    "torch engine": Way(lambda train: engine(train, "all"), as_worker=True),
    "tuned loop": Way(tuned, as_worker=False),
    "tuned loop, a worker's allocator": Way(tuned, as_worker=True),
    "torch engine, last two stages": Way(lambda train: engine(train, "stages-2"), as_worker=True),
}

if __name__ == "__main__":
    serve(sys.argv[1])
