"""From a model's configuration to a network, initialised by seed and tried once."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paribus.config import ModelConfig
from paribus.errors import ModelError
from paribus.models.user import is_user_model, user_model
from paribus.seeding import derive

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class BuiltInModel:
    """A network family of the package: the module and class that hold it, and one line on what it is.

    One that `takes_seed` draws its weights itself, or has them from elsewhere.
    """

    module: str
    class_name: str
    title: str
    takes_seed: bool = False

    def load(self) -> type[nn.Module]:
        """Import the class, and torch with it."""
        found: type[nn.Module] = getattr(importlib.import_module(self.module), self.class_name)
        return found


def build_model(config: ModelConfig, image_shape: tuple[int, int, int], num_classes: int, seed: int) -> nn.Module:
    """Build a network on the CPU, in training mode, and try it on two black images.

    Its weights are laid out with channels last, which torch is faster with, where it works with that. One whose
    forward calls `view` on maps does not: it keeps torch's usual layout, and gets whatever images come in it.

    Every layer of a built-in model is initialised by torch's own rule from a stream of its own, named by seed and
    layer: two networks share the weights of all layers that agree in name and shape. A user's class is constructed
    with torch's stream seeded, and left as it is. The global stream comes out as it went in.

    Args:
        config: Which model, with its options.
        image_shape: (C, H, W).
        num_classes: Number of logits.
        seed: The run's seed.

    Raises:
        ModelError: If the network cannot be built, or does not give logits (N, num_classes) for such images.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "init"))
        if is_user_model(config):
            model = user_model(config, image_shape, num_classes)
        elif MODELS[config.name].takes_seed:
            model = MODELS[config.name].load()(image_shape, num_classes, seed, **config.options)
        else:
            model = MODELS[config.name].load()(image_shape, num_classes, **config.options)
            _initialise(model, seed)
        _try(model, config, image_shape, num_classes)
        _lay_out(model, image_shape)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError(
            f"`{config.name}` must have parameters to train, but none of its {sum(1 for _ in model.parameters())} "
            "requires a gradient. Keep layers as attributes in its constructor, and leave one at least unfrozen."
        )
    return model


def _initialise(model: nn.Module, seed: int) -> None:
    """Reset every layer from the stream of its name; runs in a fork of the global stream."""
    import torch

    for name, layer in model.named_modules():
        reset = getattr(layer, "reset_parameters", None)
        assert reset is not None or not list(layer.parameters(recurse=False)), f"`{name}` cannot be initialised"
        if reset is not None:
            torch.default_generator.manual_seed(derive(seed, "init", index=name))
            reset()


def _try(model: nn.Module, config: ModelConfig, image_shape: tuple[int, int, int], num_classes: int) -> None:
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits: object = model(torch.zeros(2, *image_shape))
    except Exception as error:
        raise ModelError(
            f"`{config.name}` must take images (2, {', '.join(map(str, image_shape))}), but its forward raised "
            f"{type(error).__name__}: {error}. Mend its forward, or give it images that it takes."
        ) from error
    model.train(was_training)
    if not isinstance(logits, torch.Tensor):
        raise ModelError(
            f"`{config.name}` must give logits as one tensor (2, {num_classes}), but gave {type(logits).__name__}. "
            "Return the logits alone."
        )
    if logits.shape != (2, num_classes) or not logits.is_floating_point():
        raise ModelError(
            f"`{config.name}` must give logits, float (2, {num_classes}) for two images and {num_classes} classes, but "
            f"gave {str(logits.dtype).removeprefix('torch.')} {tuple(logits.shape)}. Size its last layer by "
            "`num_classes`."
        )


def _lay_out(model: nn.Module, image_shape: tuple[int, int, int]) -> None:
    import torch

    was_training = model.training
    model.eval().to(memory_format=torch.channels_last)
    try:
        with torch.no_grad():
            model(torch.zeros(2, *image_shape).contiguous(memory_format=torch.channels_last))
    except RuntimeError:  # It has just worked with the other layout.
        model.to(memory_format=torch.contiguous_format)
        model.register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:]))
    model.train(was_training)


MODELS: dict[str, BuiltInModel] = {
    "lenet5": BuiltInModel("paribus.models.lenet5", "LeNet5", "LeNet-5 as it is taught today; 61,706 parameters"),
    "lenet5-1998": BuiltInModel(
        "paribus.models.lenet5_1998", "LeNet5Of1998", "LeNet-5 as published: partly connected C3, trainable subsampling"
    ),
    "charcnn": BuiltInModel(
        "paribus.models.charcnn", "CharCnn", "five batch-normalised convolutions for handwritten characters"
    ),
    "pretrained": BuiltInModel(
        "paribus.models.pretrained", "Pretrained", "any network of timm, with what it has learnt on other images", True
    ),
}
