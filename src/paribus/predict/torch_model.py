"""A trained network from its weights, rebuilt and run by torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from paribus.batches import Batches
from paribus.data.dataset import Split
from paribus.errors import ModelError
from paribus.evaluate import logits_of
from paribus.models import build_model
from paribus.models.pretrained import Pretrained
from paribus.models.user import is_user_model, model_code_digest
from paribus.predict.preparation import Pixels
from paribus.predict.trained import TrainedModel
from paribus.store import ModelHeader
from paribus.transfer import Weights, find_weights
from paribus.wording import named

Arrays = Mapping[str, npt.NDArray[Any]]

_HEAD = {"head.weight", "head.bias"}
"""What is kept of a head that was solved for: its backbone is where it was found."""
_PLACE = "classifier"
"""Where a `Pretrained` has backbone and head."""


class TorchModel(TrainedModel):
    """A trained network run by torch.

    Args:
        header: What its file says of it.
        arrays: The weights by name.
        path: The file, for errors.

    Raises:
        ModelError: If the network cannot be built, the user's class is another than was trained, or weights do not fit.
        WeightsError: If the backbone of a head cannot be found, or is another than the head was solved for.
    """

    def __init__(self, header: ModelHeader, arrays: Arrays, path: Path) -> None:
        super().__init__(header, path)
        self._network = _built(header, arrays)
        _load(self._network, _whole(self._network, arrays), path)
        self._network.eval()

    @property
    def network(self) -> nn.Module:
        """See `TrainedModel.network`."""
        return self._network

    def _logits(self, images: Pixels) -> npt.NDArray[np.float32]:
        split = Split(np.ascontiguousarray(images), np.zeros(len(images), dtype=np.int64))
        logits: npt.NDArray[np.float32] = logits_of(self._network, Batches(split), self.normalisation).numpy()
        return logits


def _built(header: ModelHeader, arrays: Arrays) -> nn.Module:
    config, num_classes = header.recipe.model, len(header.class_names)
    if header.backbone is not None:
        weights = Weights.from_json(header.backbone)
        if set(arrays) == _HEAD:
            weights = _found_again(header, weights)
        return Pretrained(header.image_shape, num_classes, header.seed, weights, **config.options)
    if is_user_model(config) and model_code_digest(config) != header.model_code:
        raise ModelError(
            f"`{config.name}` must be as it was when the network was trained, but its file has changed since. Use the "
            "file of then, or train again with the one of now."
        )
    return build_model(config, header.image_shape, num_classes, header.seed)


def _found_again(header: ModelHeader, known: Weights) -> Weights:
    options = header.recipe.model.options
    found = find_weights(options["weights"], options["backbone"])
    if found.digest != known.digest:
        raise ModelError(
            f"The weights `{options['weights']}` must be those that the head was solved for, but they are others by "
            "now. Put the old ones back, or train again."
        )
    return found


def _whole(network: nn.Module, arrays: Arrays) -> Arrays:
    """Return the weights of the whole network; those of a backbone are in it already where there is only a head."""
    if not (isinstance(network, Pretrained) and set(arrays) == _HEAD):
        return arrays
    backbone = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return backbone | {f"{_PLACE}.{name}": array for name, array in arrays.items()}


def _load(network: nn.Module, arrays: Arrays, path: Path) -> None:
    wanted = network.state_dict()
    missing, unknown = sorted(wanted.keys() - arrays.keys()), sorted(arrays.keys() - wanted.keys())
    differing = [name for name in sorted(wanted.keys() & arrays.keys()) if wanted[name].shape != arrays[name].shape]
    faults = {"lacks": missing, "also holds": unknown, "has other shapes of": differing}
    told = [f"{what} {named(names[:3])}" for what, names in faults.items() if names]
    if told:
        raise ModelError(
            f"`{path}` must hold the weights of the network that its metadata describe, but it {', '.join(told)}. It "
            "is damaged, or its network is built otherwise by now: take another copy, or train again."
        )
    broken = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if broken:
        raise ModelError(
            f"The weights of `{path}` must be finite, but {named(broken[:3])} are not: the run has diverged. Use "
            "another run."
        )
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
