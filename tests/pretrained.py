"""Weights with a sidecar for tests: a tiny network of timm's with random weights, written as a user's would lie."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from paribus.transfer import Weights, backbone, find_weights

SIZE = 32
CLASSES = 7


def write_weights(folder: Path, name: str = "tiny", architecture: str = "test_resnet", **changes: Any) -> Path:
    """Write a file of weights and its sidecar; a change to None takes a key away."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        network = timm.create_model(architecture, num_classes=CLASSES)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    file = folder / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, file)
    (folder / "labels.txt").write_text("\n".join("abcdefg") + "\n", encoding="utf-8")
    content: dict[str, Any] = {
        "architecture": architecture,
        "file": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "num_classes": CLASSES,
        "labels": "labels.txt",
        "pretrained_on": "noise",
        "input_size": [3, SIZE, SIZE],
        "mean": [0.5, 0.4, 0.3],
        "std": [0.5, 0.25, 0.2],
        "interpolation": "bilinear",
        "crop_pct": 0.8,
        "license": "apache-2.0",
    }
    sidecar = folder / f"{name}.json"
    chosen = {key: value for key, value in (content | changes).items() if value is not None}
    sidecar.write_text(json.dumps(chosen), encoding="utf-8")
    return sidecar


def tiny_weights(folder: Path, **changes: Any) -> Weights:
    return find_weights(str(write_weights(folder, **changes)))


def real_weights(name: str) -> Weights:
    """Return weights from the folder that PARIBUS_WEIGHTS names, or skip."""
    folders = [Path(folder) for folder in os.environ.get("PARIBUS_WEIGHTS", "").split(os.pathsep) if folder]
    if not any((folder / f"{name}.json").is_file() for folder in folders):
        pytest.skip(f"real weights are needed: no folder that PARIBUS_WEIGHTS names holds {name}.json")
    return find_weights(name)


def make_digests_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock run on by 1,000 s whenever a backbone's weights are digested."""
    digests, clock, passed = backbone.state_digests, time.perf_counter, 0.0

    def slowly(network: torch.nn.Module) -> dict[str, str]:
        nonlocal passed
        passed += 1000
        return digests(network)

    monkeypatch.setattr(backbone, "state_digests", slowly)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + passed)
