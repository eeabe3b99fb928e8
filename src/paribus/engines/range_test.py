"""The training of a learning-rate range test: the torch engine's own steps, each at the next of the rates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from paribus import rate_range
from paribus.data import Dataset
from paribus.engines.torch_engine import TorchRun
from paribus.errors import RunError
from paribus.experiment import RunSpec
from paribus.store import RangeTest


def range_test(spec: RunSpec, dataset: Dataset, rates: Sequence[float]) -> RangeTest:
    """Train for one step at each rate, until the loss is lost or not finite.

    The batches and their random changes are those of the recipe, its schedule is left out. Neither val nor test is
    looked at.

    Args:
        spec: What to train; its own rate does not matter.
        dataset: The images.
        rates: In rising order; see `rate_range.rates_for`.

    Raises:
        RunError: If the loss is not finite to begin with.
    """
    run = _RangeRun(spec, dataset, rates)
    classes = dataset.num_classes
    losses: list[float] = []
    is_over = False
    while len(losses) < len(rates) and not is_over:
        sums = run.pass_over_train(len(losses) + 1)
        is_over = not math.isfinite(sums.loss)
        if not is_over:
            losses.append(sums.loss / sums.examples)
            is_over = rate_range.is_lost(losses, classes)
    if not losses:
        raise RunError(
            f"The loss must be finite before the first step, but that of `{spec.arm}` is not. Look at what its network "
            "gives for its first batch."
        )
    return RangeTest(
        arm=spec.arm,
        digest=spec.digest,
        recipe=spec.recipe.identity(),
        seed=spec.seed,
        planned=tuple(rates),
        losses=tuple(losses),
        smoothed=tuple(rate_range.smoothed(losses).tolist()),
        falls_from=rate_range.falls_from(rates, losses, classes),
        steepest=rate_range.steepest(rates, losses, classes),
        diverges_at=rates[len(losses) - 1] if is_over else None,
    )


class _RangeRun(TorchRun):
    """A run whose epochs are one step long, each at a rate of its own."""

    def __init__(self, spec: RunSpec, dataset: Dataset, rates: Sequence[float]) -> None:
        # Where test validates, `draw` hands it over as val, which nobody can look at either from here on.
        super().__init__(spec, dataset if spec.recipe.data.val == "test" else dataset.without_test())
        del self.val, self.drawn
        self.dataset = dataclasses.replace(dataset, val=None).without_test()
        self.rates = rates

    def batches(self, epoch: int) -> tuple[torch.Tensor, ...]:
        """Return the one batch of a step, by its number from 1: those of the run's first epoch, then of the next."""
        passed, index = divmod(epoch - 1, self.steps_per_epoch)
        return super().batches(passed + 1)[index : index + 1]

    def rate(self, step: int) -> float:
        """Return the rate; `step` counts as if the epochs had their whole length."""
        return self.rates[step // self.steps_per_epoch]
