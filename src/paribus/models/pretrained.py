"""Networks of timm's that have learnt on other images, with a head of their own: fine-tuned, or from scratch."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from paribus.batches import Normalisation
from paribus.config import PretrainedOptions
from paribus.errors import ModelError
from paribus.transfer import Classifier, EarlyStages, Weights, build_backbone, find_weights, stages

_NORMS = (nn.modules.batchnorm._BatchNorm,)


class Pretrained(nn.Module):
    """A backbone and a linear head, of which the last stages learn.

    Frozen stages stay in eval mode, and so does every batch normalisation where `batch_norm` is frozen: no statistics
    move there. What is frozen has no gradients.

    Args:
        image_shape: (C, H, W) of the prepared images, of which the middle is seen.
        num_classes: Number of logits.
        seed: The run's seed; it draws the head, and the rest where there are no weights.
        known: The weights, where they are at hand; else they are found.
        options: As `PretrainedOptions` has them.

    Raises:
        ModelError: If the network cannot be built, sees more than the images have, or has fewer stages than are asked
            for.
        WeightsError: If the weights cannot be had, or do not fit.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_classes: int,
        seed: int,
        known: Weights | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.options = PretrainedOptions.model_validate(options)
        self.weights = known or find_weights(self.options.weights, self.options.backbone)
        backbone = build_backbone(self.weights, seed, size=self.options.input)
        self.preprocessing = backbone.preprocessing
        self.classifier = Classifier(backbone.network, backbone.num_features, num_classes, seed)
        self._stages = {f"classifier.{name}": stage for name, stage in stages(self.classifier).items()}
        self._first = self._first_stage()
        for name, parameter in self.named_parameters():
            parameter.requires_grad = self._stages[name] >= self._first
        self._still = [module for name, module in self.named_modules() if self._is_still(name, module)]

    @property
    def normalisation(self) -> Normalisation:
        """What images are normalised by: what the weights were trained with."""
        return self.preprocessing.normalisation()

    def rates(self) -> dict[str, float]:
        """Return what the learning rate of each parameter that learns is multiplied by: less in earlier stages."""
        last, decay = max(self._stages.values()), self.options.stage_decay
        return {name: decay ** (last - stage) for name, stage in self._stages.items() if stage >= self._first}

    def train(self, mode: bool = True) -> Pretrained:
        """Set the mode of all that learns; what is frozen stays in eval mode."""
        super().train(mode)
        for module in self._still:
            module.train(False)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) of normalised images (N, C, H, W)."""
        logits: Tensor = self.classifier(self.preprocessing.crop(images))
        return logits

    def early_stages(self) -> EarlyStages | None:
        """Return the frozen stages, so that they need to be run only once; None where there are none to be had."""
        return EarlyStages.of(self, self.preprocessing, self.weights) if self._first else None

    def _first_stage(self) -> int:
        if self.options.train == "all":
            return 0
        last = max(self._stages.values())  # The head's.
        if self.options.train == "head":
            return last
        asked = int(self.options.train.rpartition("-")[2])
        if asked >= last:
            raise ModelError(
                f"`model.train` must leave a stage frozen, but {self.options.train} are all {last} stages of "
                f'`{self.options.backbone or self.options.weights}`. Ask for fewer, or for "all".'
            )
        return last - asked

    def _is_still(self, name: str, module: nn.Module) -> bool:
        if self.options.batch_norm == "frozen" and self.options.weights != "none" and isinstance(module, _NORMS):
            return True
        own = [self._stages[f"{name}.{each}"] for each, _ in module.named_parameters()] if name else [math.inf]
        return bool(own) and max(own) < self._first
