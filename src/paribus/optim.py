"""Optimisers, the learning rate of every step, and averages of weights over steps."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paribus.config import OptimConfig, ScheduleConfig


def build_optimizer(
    config: OptimConfig, parameters: Iterable[nn.Parameter], scales: Sequence[float] | None = None
) -> torch.optim.Optimizer:
    """Build the optimiser, fused into one call per step where torch can.

    `load_state_dict` of the result gives each buffer the memory layout of its parameter, since the fused steps walk
    both in the order of memory without looking at strides.

    Args:
        config: Which one, with its rates.
        parameters: What to train, already on its device and in its memory layout.
        scales: By what `set_rate` multiplies the rate of each of them; None for 1.
    """
    _do_without_compiler()
    given = list(parameters)
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name in ("sgd", "rmsprop"):
        options["momentum"] = config.momentum
    if config.name == "sgd":
        options["nesterov"] = config.nesterov
    if config.betas is not None:
        options["betas"] = tuple(config.betas)
    if config.name in FUSED and all(parameter.device.type in FUSED[config.name] for parameter in given):
        options["fused"] = True
    groups: list[dict[str, Any]] = [{"params": given, "scale": 1.0}]
    if scales is not None:
        by_scale: dict[float, list[nn.Parameter]] = {}
        for parameter, scale in zip(given, scales, strict=True):
            by_scale.setdefault(scale, []).append(parameter)
        groups = [{"params": some, "scale": scale} for scale, some in by_scale.items()]
    optimizer: torch.optim.Optimizer = OPTIMIZERS[config.name](groups, **options)
    optimizer.register_load_state_dict_post_hook(_follow_layouts)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step; each group has its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def update(optimizer: torch.optim.Optimizer) -> None:
    """Make one step, as `optimizer.step()` does, but without torch's compiler.

    torch wraps `step` so that the compiler treats it well, and loads the compiler for it, which takes a second.
    We never compile, and register no hooks on steps. Ours is the function inside the wrapping.
    """
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


class WeightAverage:
    """The mean of a network's weights after each of its steps, in which those of k steps ago weigh decay to the k.

    An exponential moving average, corrected as Adam corrects its own (Kingma, Ba 2015), so that the initial weights
    have no part in it. Buffers, such as running statistics, are averaged too; those that count are copied. Weights that
    two layers share have two names, and are averaged once.

    Args:
        network: Built as the one that is trained; it is given the average.
        decay: Above 0 and below 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay

    def add(self, trained: nn.Module, steps: int) -> None:
        """Take in the weights of a network after so many steps, the first of which is 1."""
        own, new = _without_other_names(self.network.state_dict()), trained.state_dict()
        floats = [name for name, tensor in own.items() if tensor.is_floating_point()]
        weight = (1 - self.decay) / (1 - self.decay**steps)
        torch._foreach_lerp_([own[name] for name in floats], [new[name] for name in floats], weight)
        for name in own.keys() - floats:
            own[name].copy_(new[name])


def _without_other_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by name, one that has several by the first: transposed or not, it lies in one place."""
    first: dict[tuple[int, int], str] = {}
    for name, tensor in state.items():
        first.setdefault((tensor.data_ptr(), tensor.numel()), name)
    return {name: state[name] for name in first.values()}


def _do_without_compiler() -> None:
    """Spare the optimisers' other methods the compiler, too: say of each that it is left alone already.

    A torch that wraps them otherwise is not affected, only slower to start.
    """
    for method in vars(torch.optim.Optimizer).values():
        wrapped = getattr(method, "__wrapped__", None)
        if wrapped is not None and not hasattr(wrapped, "__dynamo_disable"):
            wrapped.__dynamo_disable = wrapped


def learning_rate(optim: OptimConfig, schedule: ScheduleConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of one step.

    During warm-up of w steps, step k has (k + 1) / w of `lr`, so that no step is wasted at 0; the others begin after
    it. Cosine reaches 0 just after the last step.

    Args:
        optim: Gives `lr`.
        schedule: How it changes; see `ScheduleConfig`.
        step: From 0; below steps_per_epoch * epochs.
        steps_per_epoch: At least 1.
        epochs: Of the whole run.
    """
    warmup, total = schedule.warmup_epochs * steps_per_epoch, epochs * steps_per_epoch
    assert warmup < total, "Recipe refuses a warm-up as long as the run"
    if step + 1 < warmup:
        return optim.lr * (step + 1) / warmup
    since = max(step - warmup, 0.0)  # The last step of warm-up has the full rate already.
    if schedule.name == "step":
        assert schedule.step_epochs is not None and schedule.gamma is not None
        falls = math.floor(since / (schedule.step_epochs * steps_per_epoch) + 1e-9)  # 7 / (0.07 * 100) is below 1.
        return optim.lr * schedule.gamma**falls
    if schedule.name == "cosine":
        return _along_cosine(optim.lr, 0.0, since / (total - warmup))
    if schedule.name == "one-cycle":
        return _one_cycle(optim.lr, step, total)
    return optim.lr


def _one_cycle(lr: float, step: int, total: int) -> float:
    """Return torch's `OneCycleLR` with its defaults (Smith, Topin 2018, arXiv 1708.07120)."""
    start, end = lr / 25, lr / 250_000
    top, last = 0.3 * total - 1, total - 1
    if step <= top:
        return _along_cosine(start, lr, step / top)
    return _along_cosine(lr, end, (step - top) / (last - top))


def _along_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _follow_layouts(optimizer: torch.optim.Optimizer) -> None:
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


OPTIMIZERS: dict[str, Any] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}

FUSED: dict[str, tuple[str, ...]] = {
    "sgd": ("cpu", "cuda"),
    "adam": ("cpu", "cuda"),
    "adamw": ("cpu", "cuda"),
    "adagrad": ("cpu",),
}
"""On which devices the whole step is one call."""
