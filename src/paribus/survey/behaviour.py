"""How a network behaves on real images, whatever its classes are called: what it does to its logits, between its
layers, to its frozen parts, and in its two modes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from paribus.facts import Behaviour
from paribus.survey.trace import Push, trace

_STEPS = 4
_STEP = 10.0  # Nats, where the logits of trained networks lie.
_FAR = (1.0, 10.0, 100.0, 1000.0)
_ROUNDING = 1e-3  # Share of a step's effect up to which a bend is rounding; a ReLU bends by a third and more.
_MEET = 0.25  # Logits at a bound, per image; behind a squashing function half of those of each class are there.
_IMAGE_STEP = 30.0  # Far enough that a squashing function is not passed where it is still nearly straight.
_SAME = 1e-4


def observe(model: nn.Module, images: Tensor) -> Behaviour:
    """Watch a network on a batch of images; it is left as it was, and so is the global random stream.

    Args:
        model: Gives logits (N, K).
        images: Normalised, float (N, C, H, W), N at least 4.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        evaluated = copy.deepcopy(model).eval()
        bent, (lowest, highest), sums_to_one = _logits(evaluated, images)
        return Behaviour(
            bent=bent,
            sums_to_one=sums_to_one,
            lowest=lowest,
            highest=highest,
            unbent=_unbent(evaluated, images),
            moving=_moving(copy.deepcopy(model), images),
            mode_gap=_mode_gap(copy.deepcopy(model), images),
        )


def _logits(model: nn.Module, images: Tensor) -> tuple[bool, tuple[float | None, float | None], bool]:
    """Return whether something bends the logits, the bounds that it keeps them in, and whether they sum to one.

    A logit is straight if at least one of the last layers reaches it as an affine function.
    """
    plain = trace(model, images)
    reached = torch.zeros(plain.logits.shape[1], dtype=torch.bool)
    straight = reached.clone()
    for position in plain.last:
        has_effect, is_bent = _stepped(model, images, position)
        reached |= has_effect
        straight |= has_effect & ~is_bent
    if bool((straight | ~reached).all()):
        return False, (None, None), False
    pushed = [trace(model, images, {each: _push(size, each) for each in plain.last}).logits for size in _FAR]
    sums_to_one = all(bool((each >= 0).all()) and _close(each.sum(dim=1), torch.ones(len(each))) for each in pushed)
    bounds = (_lowest(pushed), _lowest([-each for each in pushed]))
    return True, (bounds[0], None if bounds[1] is None else 0.0 - bounds[1]), sums_to_one


def _stepped(model: nn.Module, images: Tensor, position: int) -> tuple[Tensor, Tensor]:
    """Step a layer's result both ways; return for each logit (K,) whether that has an effect, and a bent one.

    What is the same for all classes of an image, such as what log-softmax subtracts, changes neither the loss nor the
    answer and is no bend.
    """
    here = trace(model, images).logits
    has_effect = torch.zeros(here.shape[1], dtype=torch.bool)
    is_bent = has_effect.clone()
    for seed in range(_STEPS):
        ahead, back = (trace(model, images, {position: _push(step, seed)}).logits for step in (_STEP, -_STEP))
        effect = torch.maximum((ahead - here).abs(), (back - here).abs()).amax(dim=0)
        bend = ahead + back - 2 * here
        bend = (bend - bend.mean(dim=1, keepdim=True)).abs().amax(dim=0)
        has_effect |= effect > 0
        is_bent |= bend > _ROUNDING * effect.max()
    return has_effect, is_bent


def _push(size: float, seed: int) -> Push:
    """Return what adds a random step to a layer's result: the same at every place of a map or a sequence.

    So a maximum or a mean over places, which keeps the classes apart, stays affine in it.
    """

    def push(result: Tensor) -> Tensor:
        shape = (len(result), *result.shape[1:2], *[1] * (result.dim() - 2))
        if result.dim() == 3:  # A sequence (N, T, C); maps are (N, C, H, W).
            shape = (len(result), 1, result.shape[2])
        return result + size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return push


def _lowest(pushed: Sequence[Tensor]) -> float | None:
    """Return the bound below the logits, or None where they have none that many of them meet.

    They have none where the lowest falls further the further the layers are pushed. And logits that only keep their
    scale, as behind a normalisation, have a lowest one that is no bound: others would lie below it.
    """
    lows = [float(each.min()) for each in pushed]
    if not all(map(math.isfinite, lows)) or lows[-1] < 3 * min(0.0, *lows[:-1]) - 1e-6:
        return None
    far = pushed[-1]
    at_bound = int((far <= min(lows) + _ROUNDING * float(far.max() - far.min())).sum())
    return round(min(lows), 4) + 0.0 if at_bound >= len(far) * _MEET else None


def _unbent(model: nn.Module, images: Tensor) -> tuple[tuple[str, str], ...]:
    """Return the pairs of layers of which the second is given an affine function of the image."""
    step = _IMAGE_STEP * (images.roll(1, dims=0) - images)
    here, ahead, back = (trace(model, images + sign * step).layers for sign in (0, 1, -1))
    pairs = []
    for layer, first, second in zip(here, ahead, back, strict=True):
        effect = (first.given - second.given).abs().max()
        bend = (first.given + second.given - 2 * layer.given).abs().max()
        if layer.below and effect > 0 and bend <= _SAME * effect:
            pairs += [(here[each].name, layer.name) for each in sorted(layer.below)]
    return tuple(dict.fromkeys(pairs))


@torch.no_grad()
def _moving(model: nn.Module, images: Tensor) -> tuple[str, ...]:
    """Return the parts with frozen parameters only whose buffers or parameters a pass in training mode changes."""
    frozen = {
        name: part
        for name, part in model.named_modules()
        if list(part.parameters()) and not any(parameter.requires_grad for parameter in part.parameters())
    }
    before = {name: [tensor.clone() for tensor in _state(part)] for name, part in frozen.items()}
    model.train()
    model(images)
    moved = [name for name, part in frozen.items() if not _equal(before[name], _state(part))]
    return tuple(name for name in moved if not any(name.startswith(f"{other}.") for other in moved))


def _state(part: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*part.parameters(), *part.buffers()) if tensor.is_floating_point()]


def _equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@torch.no_grad()
def _mode_gap(model: nn.Module, images: Tensor) -> float:
    """Return how far logits in training mode lie from those in evaluation, beyond dropout and batch statistics.

    What is random, or depends on the other images of the batch, belongs to training and counts as no gap.
    """
    evaluated = model.eval()(images)
    model.train()
    with _Calm():
        torch.manual_seed(1)
        trained = model(images)
        torch.manual_seed(2)
        again = model(images)
        half = model(images[: len(images) // 2])
    if not (_close(trained, again) and _close(trained[: len(half)], half)) or _close(trained, evaluated):
        return 0.0
    return round(float((trained - evaluated).abs().max()), 4)


def _close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=_SAME, atol=_SAME)


class _Calm(TorchFunctionMode):
    """Turn dropout off and let batch normalisation use its running statistics, however they are called."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _TRAINING:
            name, position = _TRAINING[func]
            args, kwargs = list(args), dict(kwargs or {})
            tracks = func is not functional.batch_norm or args[1] is not None
            if len(args) > position:
                args[position] = args[position] and not tracks
            elif name in kwargs:
                kwargs[name] = kwargs[name] and not tracks
        return func(*args, **(kwargs or {}))


_TRAINING: dict[Callable[..., Any], tuple[str, int]] = {
    functional.batch_norm: ("training", 5),
    functional.dropout: ("training", 2),
    functional.dropout1d: ("training", 2),
    functional.dropout2d: ("training", 2),
    functional.dropout3d: ("training", 2),
    functional.alpha_dropout: ("training", 2),
    functional.feature_alpha_dropout: ("training", 2),
    torch.dropout: ("train", 2),
}
"""Functions that training switches, the name of their switch and its place."""
