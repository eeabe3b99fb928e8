"""Compiled CPU kernels for chains of convolution, activation, pooling and linear layers: the LeNet family.

`kernels/` is C++, compiled by `build` when the package is installed; `chain` reads a torch module as a chain of layers;
`network` is a chain with its weights; `engine` trains runs. See docs/decisions/native-engine.md.
"""

from __future__ import annotations

import json
import subprocess

from paribus import processes
from paribus.config import ModelConfig, Recipe, Value
from paribus.engines.native import build
from paribus.engines.native.library import OPTIMIZERS
from paribus.errors import ConfigError, ModelError
from paribus.models import model_code_digest

LONGEST_S = 300
"""After how long a comparison is given up: no answer, as a busy machine must not choose another engine."""
_PLAIN: dict[str, tuple[Value, str]] = {
    "augment.mixup": (0.0, "its kernels know one class per image, which `augment.mixup` mixes"),
    "train.average": (None, "it keeps no `train.average` of weights"),
    "train.precision": ("float32", "its kernels compute in float32"),
}
"""What it lacks, by the factor that asks for it, with the value that does not."""
_SERVED = {
    "lenet5": None,
    "lenet5-1998": None,
    "charcnn": "`charcnn` normalises batches",
    "pretrained": "timm's networks are torch's",
}
_KNOWN: dict[str, tuple[str, ...]] = {
    "activation": ("tanh", "scaled-tanh", "relu", "gelu", "sigmoid"),
    "pooling": ("avg", "max", "stride", "trainable"),
}
"""What it has kernels for, of the options of the models that it serves unseen."""


def refuses(recipe: Recipe, image_shape: tuple[int, int, int], num_classes: int) -> str | None:
    """Return why the engine cannot train a recipe on such images, None if it can.

    A user's own network is built, traced and compared with torch's outputs and gradients, which loads torch.

    Raises:
        ConfigError: If that takes longer than `LONGEST_S`, so that nobody can tell.
    """
    if _SERVED.get(recipe.model.name) is not None:
        return _SERVED[recipe.model.name]
    for factor, (plain, lack) in _PLAIN.items():
        if recipe.factor(factor) != plain:
            return lack
    if recipe.optim.name not in OPTIMIZERS:
        return f"its kernels have no {recipe.optim.name}"
    for option, known in _KNOWN.items():
        if recipe.model.name in _SERVED and recipe.model.options[option] not in known:
            return f"its kernels know no {option} `{recipe.model.options[option]}`"
    missing = build.missing()
    if missing is not None or recipe.model.name in _SERVED:
        return missing
    return _refuses_model(recipe.model, image_shape, num_classes)


def _refuses_model(model: ModelConfig, image_shape: tuple[int, int, int], num_classes: int) -> str | None:
    """Ask a process of its own, as a user's code may end the one that it runs in; once for a network and its code."""
    try:
        code = model_code_digest(model)
    except ModelError:  # Its file cannot be had, which is torch's to report.
        return "the network cannot be built"
    job = json.dumps([model.model_dump(), image_shape, num_classes])
    if (job, code) not in _COMPARED:
        _COMPARED[job, code] = _compared(model.name, job)
    return _COMPARED[job, code]


def _compared(name: str, job: str) -> str | None:
    try:
        done = subprocess.run(
            processes.command("paribus.engines.native.comparison"),
            input=job,
            capture_output=True,
            text=True,
            check=True,
            env=processes.environment(),
            timeout=LONGEST_S,
        )
    except subprocess.CalledProcessError:
        return _ENDS
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"A network of yours must be built and compared with the native engine's kernels within {LONGEST_S} s, but "
            f"`{name}` took longer, so that no engine can be chosen for it. See what its file waits for, try again "
            'when the machine is less busy, or choose: `train.engine = "torch"` in the experiment, or --engine torch.'
        ) from None
    try:
        reason: str | None = json.loads(done.stdout.rpartition("\n")[2])
    except json.JSONDecodeError:  # It ended well, but before it had anything to say.
        return _ENDS
    return reason


_COMPARED: dict[tuple[str, str | None], str | None] = {}
_ENDS = "the network ends the process that compares it"
