"""The reference engine: any model, trained one run at a time by torch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from paribus.augment import Augmenter
from paribus.batches import Batches, Normalisation
from paribus.data import Dataset, draw
from paribus.engines.engine import Engine, EpochEnd, Event, RunEnd, TuningEnd
from paribus.engines.run_state import RunState
from paribus.evaluate import logits_of, loss_and_accuracy
from paribus.experiment import RunSpec
from paribus.models import build_model
from paribus.optim import build_optimizer, learning_rate, update
from paribus.probes import layer_gradient_norms, probe
from paribus.seeding import derive, torch_generator
from paribus.store import Checkpoint, EpochRecord, Predictions, Probes, RunResult, TuningResult

FINITE_CHECK_STEPS = 50


class TorchEngine(Engine):
    """Trains with torch, in this process, with as many threads as torch is set to."""

    def fit(self, pack: Sequence[RunSpec], dataset: Dataset, checkpoints: Mapping[str, Checkpoint]) -> Iterator[Event]:
        """Train the runs one after the other; see `Engine.fit`."""
        for spec in pack:
            yield from _Run(spec, dataset).events(checkpoints.get(spec.digest))


class _Run:
    """One run in training: its data, model and optimiser."""

    def __init__(self, spec: RunSpec, dataset: Dataset) -> None:
        self.spec, self.recipe, self.dataset = spec, spec.recipe, dataset
        drawn = draw(dataset, spec.recipe.data, spec.seed)
        self.train_indices = torch.from_numpy(drawn.train_indices)
        self.val_is_test = drawn.val_is_test
        self.train, self.val = Batches(dataset.train), Batches(drawn.val)
        self.normalisation = Normalisation.of(self.train.images, self.train_indices)
        self.model = self.new_model()
        self.optimizer = build_optimizer(spec.recipe.optim, list(self.model.parameters()))
        self.state = RunState(self.model, self.optimizer, spec.recipe.train)

    def new_model(self) -> nn.Module:
        """Build the network with its initial weights."""
        shape, num_classes = self.dataset.image_shape, self.dataset.num_classes
        model = build_model(self.recipe.model, shape, num_classes, self.spec.seed)
        model.to(memory_format=torch.channels_last)
        return model

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.train_indices) / self.recipe.train.batch_size)

    def events(self, checkpoint: Checkpoint | None) -> Iterator[Event]:
        if checkpoint is not None:
            self.state.restore(checkpoint)
        while not self.state.is_over:
            start = time.perf_counter()
            record = self.epoch(self.state.epoch + 1)
            seconds = time.perf_counter() - start
            self.state.add(record, seconds)
            yield EpochEnd(self.spec, record, seconds, self.state.arrays())
        yield self.end_of_tuning() if self.spec.is_tuning else self.end()

    def epoch(self, epoch: int) -> EpochRecord:
        """Train for one epoch, then look at the validation images."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.spec.seed, "dropout", epoch))
            sums, steps = self.pass_over_train(epoch)
        loss_sum, correct, norm_sum, seen = sums.tolist()
        val_loss, val_accuracy = math.nan, 0.0
        if math.isfinite(loss_sum):
            val_loss, val_accuracy = loss_and_accuracy(
                logits_of(self.model, self.val, self.normalisation), self.val.labels
            )
        total = (epoch - 1) * self.steps_per_epoch + steps
        return EpochRecord(
            epoch=epoch,
            steps=total,
            lr=self.rate(total - 1),
            train_loss=_finite(loss_sum / seen),
            train_accuracy=correct / seen,
            val_loss=_finite(val_loss),
            val_accuracy=val_accuracy,
            gradient_norm=_finite(norm_sum / steps),
            layer_gradient_norms=layer_gradient_norms(self.model),
        )

    def pass_over_train(self, epoch: int) -> tuple[torch.Tensor, int]:
        """Make one update per batch; return (sum of losses, correct, sum of gradient norms, examples) and the steps.

        The training loop. It ends early once the loss is no longer finite.
        """
        recipe, model, parameters = self.recipe, self.model, list(self.model.parameters())
        augmenter = Augmenter(recipe.augment, self.spec.seed, epoch, len(self.train))
        sums = torch.zeros(4, dtype=torch.float64)
        model.train()
        steps = 0
        for indices in self.batches(epoch):
            rate = self.rate((epoch - 1) * self.steps_per_epoch + steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            logits, labels, loss = self.forward(model, indices, augmenter)
            self.optimizer.zero_grad()
            loss.backward()
            update(self.optimizer)
            steps += 1
            with torch.no_grad():
                norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
                correct = (logits.argmax(dim=1) == labels).sum()
                sums += torch.stack([loss.detach() * len(labels), correct, norm, torch.tensor(len(labels))])
            if steps % FINITE_CHECK_STEPS == 0 and not math.isfinite(sums[0].item()):
                break
        return sums, steps

    def batches(self, epoch: int) -> tuple[torch.Tensor, ...]:
        """Return which training images each step of an epoch sees; unshuffled, they ascend in the source's order."""
        indices = self.train_indices
        if self.recipe.train.shuffle:
            generator = torch_generator(self.spec.seed, "order", epoch)
            indices = indices[torch.randperm(len(indices), generator=generator)]
        batches: tuple[torch.Tensor, ...] = indices.split(self.recipe.train.batch_size)
        return batches

    def forward(
        self, model: nn.Module, indices: torch.Tensor, augmenter: Augmenter
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return logits, labels and mean loss of one batch as it is trained on."""
        labels = self.train.labels[indices]
        logits = model(self.normalisation.apply(augmenter.apply(self.train.gather(indices), indices)))
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.recipe.train.label_smoothing)
        return logits, labels, loss

    def rate(self, step: int) -> float:
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
        logits = logits_of(self.model, test, self.normalisation)
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
        )
        predictions = Predictions(logits.numpy(), np.ascontiguousarray(test.labels.numpy()))
        weights = state.weights()
        return RunEnd(self.spec, result, predictions, weights, None if state.diverged else self.probes())

    def probes(self) -> Probes:
        """Measure the kept weights, and the gradients of the first step over again, as a resumed run did not see it.

        Nothing that a model draws here is taken from the global stream.
        """
        model = self.new_model()
        augmenter = Augmenter(self.recipe.augment, self.spec.seed, 1, len(self.train))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.spec.seed, "dropout", 1))
            model.train()
            self.forward(model, self.batches(1)[0], augmenter)[2].backward()
            return probe(self.model, self.val, self.normalisation, layer_gradient_norms(model))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
