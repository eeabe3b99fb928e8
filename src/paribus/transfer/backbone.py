"""Pretrained networks of timm: built with their weights, fed as they were trained, divided into stages, kept frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paribus.batches import Normalisation
from paribus.errors import ModelError, WeightsError
from paribus.seeding import derive, torch_generator
from paribus.transfer.weights import Weights, backbone_digest, require_architecture

_COUNTERS = "num_batches_tracked"


@dataclass(frozen=True)
class Preprocessing:
    """What a backbone is shown of prepared images.

    `size` is (H, W) in pixels; `mean` and `std` are per channel, of pixels from 0 to 1.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def crop(self, images: Tensor) -> Tensor:
        """Return the middle of images (N, C, H, W), with as many channels as the backbone takes: grey is repeated.

        Raises:
            ModelError: If the images are smaller than `size`, or have another number of channels.
        """
        channels, height, width = images.shape[1:]
        if height < self.size[0] or width < self.size[1]:
            raise ModelError(
                f"Images must be at least as large as what the backbone looks at, {self.size[0]}x{self.size[1]} "
                f"pixels, but are {height}x{width}. Prepare them larger with `data.size`."
            )
        if channels not in (1, len(self.mean)):
            raise ModelError(
                f"Images must be grey or have the {len(self.mean)} channels that the backbone takes, but have "
                f"{channels}. Choose another backbone."
            )
        top, left = (height - self.size[0]) // 2, (width - self.size[1]) // 2
        middle = images[:, :, top : top + self.size[0], left : left + self.size[1]]
        return middle.expand(-1, len(self.mean), -1, -1)

    def normalisation(self) -> Normalisation:
        """Return mean and deviation as engines apply them, in units of 0 to 255."""
        mean, std = (torch.tensor(each).view(1, -1, 1, 1) * 255 for each in (self.mean, self.std))
        return Normalisation(mean, std)

    def apply(self, images: Tensor) -> Tensor:
        """Crop and normalise raw images (N, 1 or C, H, W), 0 to 255 as uint8 or float, to float32 (N, C, *size).

        The result is laid out channels last.
        """
        pixels = self.crop(images).to(torch.float32, memory_format=torch.channels_last, copy=True)
        return self.normalisation().apply(pixels)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network with its weights, on the CPU in eval mode, and what it is shown.

    `network` takes float32 (N, C, *preprocessing.size) and gives (N, num_features): features, or logits where it has
    kept its own head. `digest` is of all that decides its outputs, and `built` are the `state_digests` that it began
    with.
    """

    network: nn.Module
    weights: Weights
    preprocessing: Preprocessing
    num_features: int
    digest: str
    built: Mapping[str, str]


class Classifier(nn.Module):
    """A backbone without head and one linear layer on its features.

    Args:
        backbone: Gives features (N, num_features).
        num_features: How many.
        num_classes: Number of logits.
        seed: The run's seed, from which the head is drawn by torch's rule for linear layers: uniform within one over
            the square root of `num_features`.
    """

    def __init__(self, backbone: nn.Module, num_features: int, num_classes: int, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.utils.skip_init(nn.Linear, num_features, num_classes)
        generator, bound = torch_generator(seed, "init", index="head"), num_features**-0.5
        for parameter in self.head.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) of normalised images (N, C, H, W)."""
        features: Tensor = self.backbone(images)  # (N, num_features)
        logits: Tensor = self.head(features)
        return logits


def build_backbone(weights: Weights, seed: int, *, own_head: bool = False, size: int | None = None) -> Backbone:
    """Build a network of timm with its weights, and try it on two black images.

    Args:
        weights: Which network, with which weights.
        seed: The run's seed; it decides the weights only where there are none to load.
        own_head: Whether to keep the head that the weights come with; without it the network gives features.
        size: The side of the square that the network looks at, in pixels, instead of the one it was trained with.

    Raises:
        WeightsError: If timm has no such network, or the weights do not fit it to the last tensor or have no head of
            their own.
        ModelError: If the network cannot be built, or gives no features (N, num_features) for images of this size.
    """
    if own_head and not weights.num_classes:
        raise WeightsError(
            f"Weights must come with a head where its classes are asked for, but those of `{weights.architecture}` "
            f"({weights.file or weights.source}) have none. Choose weights that have one."
        )
    side = weights.size_at(size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "init"))
        network = _network(weights, size)
        if weights.source == "file":
            _load(network, weights)
        if not own_head:
            network.reset_classifier(0)
    network.eval().to(memory_format=torch.channels_last)
    preprocessing = Preprocessing(side, weights.mean, weights.std)
    num_features = _num_features(network, weights, preprocessing, own_head=own_head)
    digest = backbone_digest(weights, seed, own_head=own_head, size=size)
    return Backbone(network, weights, preprocessing, num_features, digest, state_digests(network))


def stages(network: nn.Module) -> dict[str, int]:
    """Return the stage of each parameter by name, counted from 0 at the images' end.

    Stages are timm's own coarse groups: the stem, each stage or transformer block. What lies between the last of them
    and the head, such as a last normalisation, belongs to the last. The head, where there is one, is a stage more.

    Args:
        network: A network of timm's, or a `Classifier` around one.

    Raises:
        ModelError: If the network does not tell its stages.
    """
    from timm.models._manipulate import group_with_matcher

    if isinstance(network, Classifier):
        inner = {f"backbone.{name}": stage for name, stage in stages(network.backbone).items()}
        head = max(inner.values()) + 1
        return inner | {f"head.{name}": head for name, _ in network.head.named_parameters()}
    if not hasattr(network, "group_matcher"):
        raise ModelError(
            f"A network must tell its stages by `group_matcher`, as those of timm do, but `{type(network).__name__}` "
            "does not. Train all of it, or only its head."
        )
    names, heads = [name for name, _ in network.named_parameters()], _heads(network)
    # The head's name is looked up where there is no head too: what timm groups with it is no stage of its own.
    asked = [(name, None) for name in dict.fromkeys([*names, *(f"{head}.weight" for head in heads)])]
    matcher: Any = network.group_matcher
    groups = group_with_matcher(iter(asked), matcher(coarse=True), reverse=True)
    outside = min((groups[f"{head}.weight"] for head in heads), default=max(groups.values()) + 1)
    inside = [name for name in names if not name.startswith(tuple(f"{head}." for head in heads))]
    found = {name: min(groups[name], outside - 1) for name in inside}
    return {name: found.get(name, outside) for name in names}


def _heads(network: Any) -> tuple[str, ...]:
    heads = network.pretrained_cfg.get("classifier") or ()
    return (heads,) if isinstance(heads, str) else tuple(heads)


@contextmanager
def frozen(network: nn.Module) -> Iterator[nn.Module]:
    """Keep a network in eval mode and without gradients for a while, and make sure that nothing in it has moved.

    Its modes come out as they went in.

    Raises:
        ModelError: At the end, if a module has been put in training mode, or a parameter or buffer has changed:
            running statistics and counters too.
    """
    modes = {module: module.training for module in network.modules()}
    before = state_digests(network)
    network.eval()
    try:
        with torch.no_grad():
            yield network
        _require_unmoved(network, before)
    finally:
        for module, training in modes.items():
            module.training = training


def require_as_built(backbone: Backbone) -> None:
    """Raise ModelError if a parameter or buffer has changed since the backbone was built."""
    _require_same(backbone.built, state_digests(backbone.network))


def state_digests(network: nn.Module) -> dict[str, str]:
    """Return a digest of each parameter's and buffer's values by name, buffers that are not saved included."""
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def _digest(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.blake2b(
        f"{tensor.dtype}{tuple(tensor.shape)}".encode() + content.tobytes(), digest_size=16
    ).hexdigest()


def _require_unmoved(network: nn.Module, before: Mapping[str, str]) -> None:
    training = [name or "the network itself" for name, module in network.named_modules() if module.training]
    if training:
        raise ModelError(
            f"A frozen network must stay in eval mode, but {len(training)} of its modules are in training mode, first "
            f"`{training[0]}`. Batch normalisation moves there: do not call `train()` on it."
        )
    _require_same(before, state_digests(network))


def _require_same(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    moved = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if moved:
        raise ModelError(
            f"A frozen network must not move, but {len(moved)} of its {len(before)} parameters and buffers changed, "
            f"first `{moved[0]}`. Look for an optimiser that holds it, or statistics that are updated."
        )


def _network(weights: Weights, size: int | None) -> Any:
    import timm
    from timm.models import PretrainedCfg, get_pretrained_cfg

    require_architecture(weights.architecture)
    config = get_pretrained_cfg(weights.architecture) or PretrainedCfg()
    arguments = weights.model_args | {"num_classes": weights.num_classes}
    if size is not None and config.fixed_input_size:
        arguments["img_size"] = size
    if weights.source == "hub":
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights.file)}}
    try:
        return timm.create_model(weights.architecture, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"timm must be able to build `{weights.architecture}` with {arguments}, but it raised "
            f"{type(error).__name__}: {error}. Correct the weights' `model_args`, their file, or the input size."
        ) from error


def _load(network: nn.Module, weights: Weights) -> None:
    """Load a sidecar's file; only the counters of batch normalisation, which nothing computes with, may be absent."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    assert weights.file is not None
    try:
        state = load_file(weights.file)
    except SafetensorError as error:
        raise WeightsError(
            f"`{weights.file}` must be a safetensors file, but cannot be read: {error}. Fetch it again."
        ) from error
    wanted = network.state_dict()
    missing = sorted(name for name in wanted.keys() - state.keys() if not name.endswith(_COUNTERS))
    unknown = sorted(state.keys() - wanted.keys())
    differing = sorted(name for name in wanted.keys() & state.keys() if wanted[name].shape != state[name].shape)
    if missing or unknown or differing:
        raise WeightsError(
            f"`{weights.file}` must hold exactly the tensors of `{weights.architecture}` with {weights.model_args}, "
            f"but it {_misfit(missing, unknown, differing)}. Correct `architecture` or `model_args` in the sidecar, or "
            "the input size."
        )
    network.load_state_dict(state, strict=False)


def _misfit(missing: list[str], unknown: list[str], differing: list[str]) -> str:
    parts = []
    for what, names in (("lacks", missing), ("also holds", unknown), ("has other shapes of", differing)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            parts.append(f"{what} {', '.join(f'`{name}`' for name in names[:3])}{more}")
    return ", ".join(parts)


def _num_features(network: nn.Module, weights: Weights, preprocessing: Preprocessing, *, own_head: bool) -> int:
    shape = (2, len(preprocessing.mean), *preprocessing.size)
    try:
        with torch.no_grad():
            outputs: object = network(torch.zeros(shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ModelError(
            f"`{weights.architecture}` must take images {shape}, but its forward raised {type(error).__name__}: "
            f"{error}. Choose another input size."
        ) from error
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ModelError(
            f"`{weights.architecture}` must give one row of features per image, but gave {given}. Choose another "
            "backbone, or `model_args` with which it pools."
        )
    stated = weights.num_classes if own_head else weights.num_features
    if stated is not None and outputs.shape[1] != stated:
        raise WeightsError(
            f"`{weights.architecture}` must give as many numbers per image as its sidecar states, {stated}, but gives "
            f"{outputs.shape[1]}. Correct the sidecar."
        )
    return outputs.shape[1]
