"""The native engine: chains of layers trained by compiled kernels, one run at a time."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from paribus.activations import ROOT
from paribus.augment import Augmenter
from paribus.batches import Batches
from paribus.config import AugmentConfig
from paribus.data import Dataset
from paribus.engines.native.chain import chain_of
from paribus.engines.native.network import Batch, Floats, Network, optimizer_of
from paribus.engines.run import FINITE_CHECK_STEPS, Run, SerialEngine, Sums
from paribus.experiment import RunSpec
from paribus.store import Arrays


class NativeRun(Run):
    """One run in training by the kernels. Its torch module gives the initial weights and is what gets probed."""

    def __init__(self, spec: RunSpec, dataset: Dataset) -> None:
        super().__init__(spec, dataset)
        chain = chain_of(self.model, dataset.image_shape)
        shapes = {name: tuple(parameter.shape) for name, parameter in self.model.named_parameters()}
        self.network = Network(chain, shapes, torch.get_num_threads())
        self.network.load({name: parameter.detach().numpy() for name, parameter in self.model.named_parameters()})
        self.optimizer = optimizer_of(spec.recipe.optim)
        self.table = _table(self)

    def pass_over_train(self, epoch: int) -> Sums:
        """Make one update per batch: the training loop, each step of it one call of the kernels."""
        augmenter = self.augmenter(epoch)
        sums = Sums()
        for indices in self.batches(epoch):
            step = (epoch - 1) * self.steps_per_epoch + sums.steps
            loss, correct, norm = self.network.step(
                self.batch(indices, augmenter),
                self.recipe.train.label_smoothing,
                key=self.dropout_seed(epoch) + sums.steps,
                update=(self.optimizer, self.rate(step), step + 1),
            )
            sums.add(loss, correct, norm, len(indices))
            if sums.steps % FINITE_CHECK_STEPS == 0 and not math.isfinite(sums.loss):
                break
        return sums

    def batch(self, indices: torch.Tensor, augmenter: Augmenter) -> Batch:
        """Return the training images of one step; bytes are looked up by the kernels, changed images are ready."""
        if self.recipe.augment == AugmentConfig():
            return Batch(self.train.images.numpy(), self.table, indices.numpy(), self.train.labels.numpy())
        images = self.normalisation.apply(self.train.gather(indices, augmenter))
        return Batch(images.contiguous().numpy(), labels=self.train.labels[indices].numpy())

    def logits(self, batches: Batches) -> torch.Tensor:
        """See `Run.logits`."""
        return torch.from_numpy(self.network.logits(Batch(batches.images.numpy(), self.table)))

    def gradient_norms(self) -> dict[str, float] | None:
        """See `Run.gradient_norms`."""
        squares: dict[str, float] = {}
        for name, gradient in self.network.gradients.items():
            layer = name.rpartition(".")[0] or ROOT
            squares[layer] = squares.get(layer, 0.0) + float(np.vdot(gradient, gradient))
        norms = {layer: math.sqrt(square) for layer, square in squares.items()}
        return norms if all(map(math.isfinite, norms.values())) else None

    def trained_model(self) -> nn.Module:
        """See `Run.trained_model`."""
        self.model.load_state_dict({name: torch.from_numpy(array) for name, array in self.weights().items()})
        return self.model

    def weights(self) -> Arrays:
        """See `Run.weights`."""
        return {name: view.copy() for name, view in self.network.weights.items()}

    def load_weights(self, weights: Arrays) -> None:
        """See `Run.load_weights`."""
        self.network.load(weights)

    def optimizer_state(self) -> Arrays:
        """See `Run.optimizer_state`."""
        return {name: view.copy() for name, view in self.network.averages.items()}

    def load_optimizer_state(self, state: Arrays) -> None:
        """See `Run.load_optimizer_state`."""
        for name, view in self.network.averages.items():
            view[...] = state[name]


class NativeEngine(SerialEngine):
    """Trains with the compiled kernels, in this process, with as many threads as torch is set to."""

    kind = NativeRun


def _table(run: Run) -> Floats:
    """Return what each byte of each channel is normalised to, float32 (C, 256), by the arithmetic of `Batches`."""
    channels = run.dataset.image_shape[0]
    values = torch.arange(256, dtype=torch.float32).expand(1, channels, 256).unsqueeze(2).contiguous()
    table: Floats = run.normalisation.apply(values).view(channels, 256).numpy()
    return table
