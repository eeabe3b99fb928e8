"""The frozen early stages of a network, run once: what they give is kept on disk, and the rest goes on from there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from paribus.transfer.backbone import Backbone, Preprocessing, state_digests
from paribus.transfer.features import Extractor
from paribus.transfer.weights import Weights

TOLERANCE = 1e-4
"""The largest difference that going on from kept outputs may make to a logit, as a share of the largest."""


@dataclass(frozen=True)
class Kept:
    """What frozen stages give for images, float32 (N, *shape), and the seconds that it took, once."""

    outputs: Tensor
    seconds: float


class EarlyStages:
    """What a partly frozen network makes of images up to its last frozen stage, and how it goes on from there.

    To go on, by `rest`, the network itself is called, with every frozen part answering at once: the last with what was
    kept, those before it with zeros that nobody reads. `of` compares logits with the network's own before this is used.

    Args:
        network: Takes normalised images (N, C, H, W) and gives logits.
        parts: Its frozen parts in the order in which they are called, with the shapes of what they give to one image.
        preprocessing: What the network is shown of prepared images.
        weights: Which the network started from.
    """

    def __init__(
        self,
        network: nn.Module,
        parts: Mapping[nn.Module, tuple[int, ...]],
        preprocessing: Preprocessing,
        weights: Weights,
    ) -> None:
        self.network, self.parts = network, parts
        self.rest = Rest(network, parts, preprocessing)
        self.shape = list(parts.values())[-1]
        until = _Until(network, list(parts))
        built = state_digests(until)
        decides = f"{weights.architecture}|{sorted(weights.model_args.items())}|{preprocessing}|{sorted(built.items())}"
        digest = hashlib.blake2b(decides.encode(), digest_size=16).hexdigest()
        self.extractor = Extractor(Backbone(until, weights, preprocessing, math.prod(self.shape), digest, built))

    @classmethod
    def of(cls, network: nn.Module, preprocessing: Preprocessing, weights: Weights) -> EarlyStages | None:
        """Return the early stages of a network; None where nothing is frozen, or more than their outputs is needed.

        That is so where a frozen part is called twice, or what learns reads from several of them.
        """
        frozen = _largest_frozen(network)
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(2, len(preprocessing.mean), *preprocessing.size, generator=generator)
        images = images.contiguous(memory_format=torch.channels_last)
        with _at_rest(network):
            wanted, given = _watched(network, frozen, images)
            while given and next(given[-1][0].parameters(), None) is None:
                given.pop()  # What learns may begin before it.
            parts = {part: outputs.shape[1:] for part, outputs in given if isinstance(outputs, Tensor)}
            if not given or len(parts) < len(given):
                return None
            early = cls(network, parts, preprocessing, weights)
            difference = (early.rest(given[-1][1]) - wanted).abs().max()
        return early if difference <= TOLERANCE * wanted.abs().max() else None

    def outputs(self, images: npt.NDArray[np.uint8], source: str) -> Kept:
        """Return what the last frozen part gives for prepared images, from the cache where it is kept.

        Args:
            images: uint8 (N, 1 or C, H, W).
            source: What the images are; see `Extractor.features`.

        Returns:
            These, mapped into memory, and the seconds that they took, now or at another time.

        Raises:
            ModelError: If the images do not fit, or a frozen part has moved.
            DataError: If the cache is damaged or cannot be written.
        """
        with _at_rest(self.network):
            features = self.extractor.features(images, source)
        return Kept(torch.from_numpy(features.values).view(-1, *self.shape), features.seconds)


class Rest(nn.Module):
    """What a network makes of the outputs of its last frozen part, (N, *shape): logits (N, num_classes).

    Its modes, parameters and buffers are the network's.
    """

    def __init__(
        self, network: nn.Module, parts: Mapping[nn.Module, tuple[int, ...]], preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.network, self.answering, self.preprocessing = network, dict(parts), preprocessing

    def forward(self, outputs: Tensor) -> Tensor:
        """Return logits (N, num_classes)."""
        if outputs.dim() == 4:
            outputs = outputs.contiguous(memory_format=torch.channels_last)
        zero = torch.zeros(())
        unread = [zero.expand(len(outputs), *shape) for shape in self.answering.values()][:-1]
        with _answering(self.answering, [*unread, outputs]):
            size = self.preprocessing.size
            logits: Tensor = self.network(zero.expand(len(outputs), len(self.preprocessing.mean), *size))
        return logits


class _Until(nn.Module):
    """Gives what the last of some parts of a network gives, flattened to (N, numbers).

    Only these parts are its modules: the rest of the network learns, and is none of what must stay as it is.
    """

    def __init__(self, network: nn.Module, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.whole = (network,)  # Hidden from torch.

    def forward(self, images: Tensor) -> Tensor:
        reached: list[Tensor] = []

        def stop(part: nn.Module, given: Any, outputs: Tensor) -> None:
            reached.append(outputs)
            if not torch.onnx.is_in_onnx_export():  # A trace must reach its end; what nobody reads is cut out later.
                raise _EnoughError

        hook = self.parts[-1].register_forward_hook(stop)
        try:
            self.whole[0](images)
        except _EnoughError:
            pass
        finally:
            hook.remove()
        return reached[0].flatten(1)


class _EnoughError(Exception):
    """The last frozen part has given its outputs: the rest of the network need not run."""


def _largest_frozen(network: nn.Module) -> list[nn.Module]:
    """Return the largest modules in which nothing learns, such as have no parameters too."""
    if not any(parameter.requires_grad for parameter in network.parameters()):
        return [network]
    return [part for child in network.children() for part in _largest_frozen(child)]


def _watched(
    network: nn.Module, parts: Sequence[nn.Module], images: Tensor
) -> tuple[Tensor, list[tuple[nn.Module, Any]]]:
    """Return the network's logits, and each call of a part with what it gave, in order."""
    calls: list[tuple[nn.Module, Any]] = []
    hooks = [part.register_forward_hook(lambda part, _, outputs: calls.append((part, outputs))) for part in parts]
    try:
        return network(images), calls
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _answering(parts: Mapping[nn.Module, tuple[int, ...]], answers: Sequence[Tensor]) -> Iterator[None]:
    """Let each part give its answer, whatever it is called with."""
    for part, answer in zip(parts, answers, strict=True):
        part.__dict__["forward"] = lambda *_, answer=answer: answer
    try:
        yield
    finally:
        for part in parts:
            del part.__dict__["forward"]


@contextmanager
def _at_rest(network: nn.Module) -> Iterator[None]:
    """Have the network in eval mode and without gradients for a while; all comes out as it went in."""
    modes = {module: module.training for module in network.modules()}
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.eval()
    for parameter in learning:
        parameter.requires_grad = False  # An export takes them for constants.
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter in learning:
            parameter.requires_grad = True
