"""One run as every engine that trains one at a time goes about it: epochs, records, the end, what is probed."""

from __future__ import annotations

import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from paribus import temperature
from paribus.augment import Augmenter
from paribus.batches import Batches, Normalisation, in_order
from paribus.data import Dataset, draw
from paribus.engines.engine import Engine, EpochEnd, Event, RunEnd, TuningEnd
from paribus.engines.features_engine import solved_head
from paribus.engines.gradients import add_gradients, images_at_once
from paribus.engines.run_state import RunState
from paribus.evaluate import loss_and_accuracy
from paribus.experiment import RunSpec
from paribus.models import build_model
from paribus.models.pretrained import Pretrained
from paribus.optim import learning_rate
from paribus.probes import layer_gradient_norms, probe
from paribus.seeding import derive
from paribus.store import Arrays, Checkpoint, EpochRecord, Predictions, Probes, RunResult, TuningResult, Usage
from paribus.transfer import LogisticHead

FINITE_CHECK_STEPS = 50
TRIAL_S = 0.5


@dataclass
class Sums:
    """What a pass over the training images adds up: losses, correct predictions, gradient norms, examples, steps."""

    loss: float = 0.0
    correct: float = 0.0
    norm: float = 0.0
    examples: int = 0
    steps: int = 0

    def add(self, loss: float, correct: float, norm: float, examples: int) -> None:
        """Add a step: the sum of its losses, its correct predictions, its gradient norm."""
        self.loss += loss
        self.correct += correct
        self.norm += norm
        self.examples += examples
        self.steps += 1


class Run(ABC):
    """One run in training: its data, its network as a torch module with the initial weights, and how far it is."""

    def __init__(self, spec: RunSpec, dataset: Dataset) -> None:
        self.spec, self.recipe, self.dataset = spec, spec.recipe, dataset
        self.drawn = draw(dataset, spec.recipe.data, spec.seed)
        self.train_indices = torch.from_numpy(self.drawn.train_indices)
        self.val_is_test = self.drawn.val_is_test
        self.train, self.val = Batches(dataset.train), Batches(self.drawn.val)
        self.model = self.new_model()
        # A pretrained network brings the normalisation that it was trained with.
        self.normalisation = getattr(self.model, "normalisation", None) or Normalisation.of(
            self.train.images, self.train_indices
        )
        self.state = RunState(self, spec.recipe.train)
        self.features_seconds = 0.0
        self._held: Augmenter | None = None
        self._at_once: int | None = None

    @abstractmethod
    def pass_over_train(self, epoch: int) -> Sums:
        """Make one update per batch, and end early once the loss is no longer finite."""

    @abstractmethod
    def logits(self, batches: Batches) -> torch.Tensor:
        """Return logits float32 (N, num_classes) of a whole split in eval mode."""

    @abstractmethod
    def gradient_norms(self) -> dict[str, float] | None:
        """Return the norms of the last step's gradients by layer; see `layer_gradient_norms`."""

    @abstractmethod
    def trained_model(self) -> nn.Module:
        """Return the network as a torch module with the weights that are evaluated now."""

    @abstractmethod
    def weights(self) -> Arrays:
        """Return copies of the parameters and buffers of `trained_model` by name."""

    @abstractmethod
    def load_weights(self, weights: Arrays) -> None:
        """Take weights such as `weights` gives."""

    @abstractmethod
    def optimizer_state(self) -> Arrays:
        """Return copies of what training needs beyond `weights`, by names of the engine's own."""

    @abstractmethod
    def load_optimizer_state(self, state: Arrays) -> None:
        """Take what `optimizer_state` gave."""

    def new_model(self) -> nn.Module:
        """Build the network with its initial weights."""
        shape, num_classes = self.dataset.image_shape, self.dataset.num_classes
        model = build_model(self.recipe.model, shape, num_classes, self.spec.seed)
        if isinstance(model, Pretrained) and model.options.start == "head":
            self._head.put_into(model.classifier.head)
        return model

    @cached_property
    def _head(self) -> LogisticHead:
        return solved_head(self.spec, self.dataset)

    def augmenter(self, epoch: int) -> Augmenter:
        """Return what changes the training images of an epoch; random crops get the size that the network looks at."""
        if self._held is not None:
            return self._held
        size = self.model.preprocessing.size if isinstance(self.model, Pretrained) else None
        return Augmenter(self.recipe.augment, self.spec.seed, epoch, len(self.train), size=size)

    def hold_augmenter(self) -> float:
        """Draw once for all training images, and never again; return the seconds that it took, which an epoch takes."""
        start = time.perf_counter()
        self._held = self.augmenter(1)
        return time.perf_counter() - start

    @property
    def steps_per_epoch(self) -> int:
        """How many updates an epoch makes."""
        return math.ceil(len(self.train_indices) / self.recipe.train.batch_size)

    def dropout_seed(self, epoch: int) -> int:
        """Return what an epoch's dropout is drawn from."""
        return derive(self.spec.seed, "dropout", epoch)

    def events(self, checkpoint: Checkpoint | None) -> Iterator[Event]:
        """Train to the end, from a checkpoint where there is one; see `Engine.fit`."""
        if checkpoint is not None:
            self.state.restore(checkpoint)
        self.features_seconds = self.prepare()
        while not self.state.is_over:
            start = time.perf_counter()
            record = self.epoch(self.state.epoch + 1)
            seconds = time.perf_counter() - start
            self.state.add(record, seconds)
            yield EpochEnd(self.spec, record, seconds, self.state.arrays())
        yield self.end_of_tuning() if self.spec.is_tuning else self.end()

    def prepare(self) -> float:
        """Compute what all runs read, so that no epoch is charged; return the seconds that it took, once."""
        return 0.0

    def epoch(self, epoch: int) -> EpochRecord:
        """Train for one epoch, then look at the validation images."""
        sums = self.pass_over_train(epoch)
        val_loss, val_accuracy = math.nan, 0.0
        if math.isfinite(sums.loss):
            val_loss, val_accuracy = loss_and_accuracy(self.logits(self.val), self.val.labels)
        total = (epoch - 1) * self.steps_per_epoch + sums.steps
        return EpochRecord(
            epoch=epoch,
            steps=total,
            lr=self.rate(total - 1),
            train_loss=_finite(sums.loss / sums.examples),
            train_accuracy=sums.correct / sums.examples,
            val_loss=_finite(val_loss),
            val_accuracy=val_accuracy,
            gradient_norm=_finite(sums.norm / sums.steps),
            layer_gradient_norms=self.gradient_norms(),
        )

    def batches(self, epoch: int) -> tuple[torch.Tensor, ...]:
        """Return which training images each step of an epoch sees; unshuffled, they ascend in the source's order."""
        indices = self.train_indices
        if self.recipe.train.shuffle:
            indices = in_order(indices, self.spec.seed, epoch)
        batches: tuple[torch.Tensor, ...] = indices.split(self.recipe.train.batch_size)
        return batches

    def add_gradients(
        self, model: nn.Module, indices: torch.Tensor, augmenter: Augmenter, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of one batch, as it is trained on, to those of a model in training mode.

        Args:
            model: The network.
            indices: Which training images, int64 (B,).
            augmenter: What changes and mixes them.
            step: Of the epoch, from 0.

        Returns:
            The sum of the losses, and how many were right. An image that is mixed is right where it is taken for what
            has the larger share in it.
        """
        train, targets = self.recipe.train, self.train.labels[indices]
        network, images = self.seen(model, indices, augmenter)
        mixing = augmenter.mixing(step, len(indices))
        if mixing is not None:
            images = mixing.apply(images)
            targets = mixing.apply(functional.one_hot(targets, self.dataset.num_classes).float())
        if self._at_once is None:
            self._at_once = images_at_once(network, images, min(train.batch_size, len(self.train_indices)), train)
        return add_gradients(network, images, targets, self._at_once, train)

    def seen(self, model: nn.Module, indices: torch.Tensor, augmenter: Augmenter) -> tuple[nn.Module, torch.Tensor]:
        """Return what training images go through, the network or its rest, and what it is given, (B, ...)."""
        return model, self.normalisation.apply(self.train.gather(indices, augmenter))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, from 0 over the whole run."""
        recipe = self.recipe
        return learning_rate(recipe.optim, recipe.schedule, step, self.steps_per_epoch, recipe.train.epochs)

    def end_of_tuning(self) -> TuningEnd:
        """End without a look at the test images: the epochs say all that a choice on val needs."""
        spec, state = self.spec, self.state
        result = TuningResult(
            arm=spec.arm,
            lr=spec.recipe.optim.lr,
            seed=spec.seed,
            digest=spec.digest,
            status="diverged" if state.diverged else "finished",
            engine=spec.engine,
            epochs=state.epoch,
            epoch_kept=state.epoch_kept,
            steps=state.steps,
            seconds=round(state.seconds, 3),
        )
        return TuningEnd(spec, result)

    def end(self) -> RunEnd:
        """Evaluate the kept weights on the test images: the only time that they are looked at; then probe on val."""
        self.state.load_kept_weights()
        test = Batches(self.dataset.test)
        logits = self.logits(test)
        loss, accuracy = loss_and_accuracy(logits, test.labels)
        state = self.state
        result = RunResult(
            arm=self.spec.arm,
            seed=self.spec.seed,
            digest=self.spec.digest,
            status="diverged" if state.diverged else "finished",
            engine=self.spec.engine,
            epochs=state.epoch,
            epoch_kept=state.epoch_kept,
            steps=state.steps,
            parameters=sum(p.numel() for p in self.model.parameters()),
            train_examples=len(self.train_indices),
            val_examples=len(self.val),
            val_is_test=self.val_is_test,
            test_examples=len(test),
            test_loss=_finite(loss),
            test_accuracy=accuracy,
            seconds=round(state.seconds, 3),
            features_seconds=round(self.features_seconds, 3),
        )
        predictions = Predictions(logits.numpy(), np.ascontiguousarray(test.labels.numpy()))
        probes = None if state.diverged else self.probes()
        return RunEnd(self.spec, result, predictions, self.weights(), probes, self.usage())

    def usage(self) -> Usage:
        """Tell what it takes to use the kept weights; the temperature is fitted on val."""
        with torch.random.fork_rng(devices=[]):  # For a network that draws where it should not.
            logits = self.logits(self.val).numpy()
        found = temperature.choose(logits, self.val.labels.numpy(), val_is_test=self.val_is_test)
        return Usage(
            class_names=self.dataset.class_names,
            image_shape=self.dataset.image_shape,
            mean=tuple(self.normalisation.mean.flatten().tolist()),
            std=tuple(self.normalisation.std.flatten().tolist()),
            temperature=found.value,
            temperature_reason=found.reason,
            backbone=self.model.weights.to_json() if isinstance(self.model, Pretrained) else None,
        )

    def probes(self) -> Probes:
        """Measure the kept weights, and the gradients of the first step over again, as a resumed run did not see it.

        Nothing that a model draws here is taken from the global stream.
        """
        model = self.new_model()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.dropout_seed(1))
            model.train()
            self.add_gradients(model, self.batches(1)[0], self.augmenter(1), 0)
            return probe(self.trained_model(), self.val, self.normalisation, layer_gradient_norms(model))


class SerialEngine(Engine):
    """An engine that trains the runs of a pack one after the other, each a `Run` of its own kind."""

    kind: ClassVar[type[Run]]

    def fit(self, pack: Sequence[RunSpec], dataset: Dataset, checkpoints: Mapping[str, Checkpoint]) -> Iterator[Event]:
        """Train the runs; see `Engine.fit`."""
        for spec in pack:
            yield from self.kind(spec, dataset).events(checkpoints.get(spec.digest))

    def trial(self, spec: RunSpec, dataset: Dataset) -> Run:
        """Return a run of which single steps are timed."""
        return self.kind(spec, dataset)

    def seconds_per_example(self, spec: RunSpec, dataset: Dataset) -> float:
        """Time single steps for about half a second; see `Engine.seconds_per_example`.

        What is drawn once for an epoch is timed once, and each image of the epoch has its share of it.
        """
        run = self.trial(spec, dataset)
        drawing = run.hold_augmenter() / len(run.train_indices)
        run.train_indices = run.train_indices[: spec.recipe.train.batch_size]
        seconds: list[float] = []
        begin = time.perf_counter()
        while time.perf_counter() - begin < TRIAL_S or len(seconds) < 3:
            start = time.perf_counter()
            run.pass_over_train(1)
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds) / len(run.train_indices) + drawing


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
