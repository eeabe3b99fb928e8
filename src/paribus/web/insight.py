"""What a network sees in one image: its input, the maps of its first convolutions, where it looks for a class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Maps:
    """What one convolution gave: its name in the network, and its maps (C, H, W)."""

    layer: str
    values: Floats


@dataclass(frozen=True)
class Insight:
    """What was seen in one image.

    `seen` is the normalised image (C, H, W) that the first convolution was given, None without one. `maps` are those of
    the first convolutions in the order in which they ran. `attention` (H, W), of the size of `seen`, runs from 0 to 1:
    what spoke for the class, by the convolution `attention_layer`; where there is none, `reason` says why.
    """

    seen: Floats | None
    maps: tuple[Maps, ...]
    attention: Floats | None
    attention_layer: str
    reason: str


@dataclass
class _Calls:
    """The convolutions that ran, in their order: name, input and output."""

    names: list[str] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


def look(network: nn.Module, image: Tensor, label: int, first: int = 2) -> Insight:
    """Run one image through a network in eval mode, and see what its convolutions make of it.

    Where it looks is Grad-CAM (Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via
    gradient-based localization", section 3): the maps of the last convolution, weighted by the mean gradient of the
    class's logit, summed, and cut off at 0. The last convolution is the last one whose maps have more than one pixel
    and reach the logit; convolutions are all modules of `torch.nn.Conv2d`, or that call themselves a convolution.

    The network's weights, gradients, buffers and hooks come out as they went in.

    Args:
        network: Takes normalised images (1, C, H, W), gives logits (1, K).
        image: Normalised, float32 (1, C, H, W).
        label: The class whose evidence is looked for, 0 to K - 1.
        first: Of how many convolutions the maps are kept.
    """
    with torch.inference_mode(False), torch.enable_grad(), _watched(network) as calls:
        logits = network(image.clone().requires_grad_())
        attention, layer, reason = _attention(logits[0, label], calls)
    maps = tuple(
        Maps(name, output[0].detach().float().numpy())
        for name, output in zip(calls.names[:first], calls.outputs[:first], strict=True)
    )
    if not calls.inputs:
        return Insight(None, maps, None, "", reason)
    seen = calls.inputs[0].detach()
    if attention is not None:
        attention = functional.interpolate(
            attention[None, None], size=seen.shape[2:], mode="bilinear", align_corners=False
        )[0, 0]
    return Insight(
        np.ascontiguousarray(seen[0].float().numpy()),
        maps,
        None if attention is None else attention.numpy(),
        layer,
        reason,
    )


def _attention(logit: Tensor, calls: _Calls) -> tuple[Tensor | None, str, str]:
    """Return where the last convolution's maps speak for the logit, 0 to 1, its name, and why there is nothing."""
    wide = [index for index, output in enumerate(calls.outputs) if output.shape[2:].numel() > 1]
    if not wide:
        return None, "", "This network has no convolution with maps, so there is no place that it looks at."
    for index in reversed(wide):
        try:
            gradient = torch.autograd.grad(logit, calls.outputs[index], retain_graph=True, allow_unused=True)[0]
        except RuntimeError:
            return None, "", "This network overwrites what its gradients need, so where it looks cannot be told."
        if gradient is not None:
            return _weighted(calls.names[index], calls.outputs[index].detach()[0], gradient[0])
    return None, "", "No convolution of this network reaches the logits, so there is no place that it looks at."


def _weighted(name: str, maps: Tensor, gradient: Tensor) -> tuple[Tensor | None, str, str]:
    """Return the sum of maps (C, H, W), each weighted by its mean gradient, where it is above 0, as `_attention`."""
    attention = (gradient.mean(dim=(1, 2))[:, None, None] * maps).sum(dim=0).clamp(min=0)
    most = float(attention.max())
    if not most > 0:
        return None, name, f"Nothing in the maps of `{name}` speaks for this class."
    return (attention / most).float(), name, ""


@contextmanager
def _watched(network: nn.Module) -> Iterator[_Calls]:
    calls = _Calls()
    convolutions = [(name, module) for name, module in network.named_modules() if _is_convolution(module)]

    def hook_for(name: str) -> Any:
        def hook(_: nn.Module, given: tuple[Any, ...], output: Any) -> Tensor | None:
            if not isinstance(output, Tensor) or output.dim() != 4:
                return None
            calls.names.append(name)
            calls.inputs.append(given[0])
            calls.outputs.append(output)
            return output.clone()  # What follows may overwrite what it is given.

        return hook

    handles = [module.register_forward_hook(hook_for(name)) for name, module in convolutions]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) or type(module).__name__.endswith("Convolution")
