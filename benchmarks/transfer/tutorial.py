"""Feature extraction as the tutorials have it: every photo is decoded and goes through the frozen backbone every epoch.

torchvision's `ImageFolder` with Resize, CenterCrop and Normalize, a `DataLoader`, a pretrained backbone that is not
trained, a linear head, Adam; val after each epoch, test at the end. It is kinder to itself than some: batches of 32, no
gradients through the backbone, eval mode there. The last line that it prints is JSON: seconds per epoch, test accuracy.
Run with: python benchmarks/transfer/tutorial.py PHOTOS SIDECAR --epochs 25 --workers 2
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

BATCH_SIZE = 32
LR = 0.001


def loaders(photos: Path, sidecar: dict[str, Any], workers: int) -> dict[str, DataLoader[Any]]:
    """Return a loader for each of train, valid and test."""
    side = sidecar["input_size"][1]
    change = transforms.Compose(
        [
            transforms.Resize(round(side / sidecar["crop_pct"])),
            transforms.CenterCrop(side),
            transforms.ToTensor(),
            transforms.Normalize(sidecar["mean"], sidecar["std"]),
        ]
    )
    return {
        split: DataLoader(
            ImageFolder(photos / split, change),
            BATCH_SIZE,
            shuffle=split == "train",
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for split in ("train", "valid", "test")
    }


def pretrained(sidecar: dict[str, Any], file: Path, num_classes: int) -> nn.Module:
    """Return the backbone with its weights, frozen, and a new head."""
    architecture, arguments = sidecar["architecture"], sidecar["model_args"]
    network: nn.Module = timm.create_model(architecture, num_classes=sidecar["num_classes"], **arguments)
    network.load_state_dict(load_file(file), strict=False)  # Counters of batch normalisation may be absent.
    for parameter in network.parameters():
        parameter.requires_grad = False
    network.classifier = nn.Linear(sidecar["num_features"], num_classes)
    return network.eval()


def train_epoch(network: nn.Module, batches: DataLoader[Any], optimizer: torch.optim.Optimizer) -> None:
    """Make one update of the head per batch."""
    for images, labels in batches:
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def accuracy(network: nn.Module, batches: DataLoader[Any]) -> float:
    """Return the share of images that are answered rightly."""
    correct, images_seen = 0, 0
    with torch.no_grad():
        for images, labels in batches:
            correct += int((network(images).argmax(dim=1) == labels).sum())
            images_seen += len(labels)
    return correct / images_seen


def main() -> None:
    """Train the head, then test it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder with train, valid and test")
    parser.add_argument("sidecar", type=Path, help="the JSON file beside the backbone's weights")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    sidecar = json.loads(options.sidecar.read_text(encoding="utf-8"))
    torch.manual_seed(0)
    batches = loaders(options.photos, sidecar, options.workers)
    network = pretrained(sidecar, options.sidecar.with_name(sidecar["file"]), num_classes=2)
    optimizer = torch.optim.Adam(network.classifier.parameters(), lr=LR)
    seconds = []
    for epoch in range(1, options.epochs + 1):
        start = time.perf_counter()
        train_epoch(network, batches["train"], optimizer)
        print(f"epoch {epoch}: val accuracy {accuracy(network, batches['valid']):.4f}")
        seconds.append(round(time.perf_counter() - start, 4))
    print(json.dumps({"epoch_seconds": seconds, "test_accuracy": accuracy(network, batches["test"])}))


if __name__ == "__main__":
    main()
