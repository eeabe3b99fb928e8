"""The reference engine: any model, trained one run at a time by torch."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from paribus.augment import Augmenter
from paribus.batches import Batches
from paribus.config import AugmentConfig
from paribus.data import Dataset
from paribus.engines.gradients import require_precision
from paribus.engines.run import FINITE_CHECK_STEPS, Run, SerialEngine, Sums
from paribus.evaluate import BATCH, logits_of
from paribus.experiment import RunSpec
from paribus.models.pretrained import Pretrained
from paribus.optim import WeightAverage, build_optimizer, set_rate, update
from paribus.probes import layer_gradient_norms
from paribus.store import Arrays
from paribus.transfer import EarlyStages, Kept

MOST_KEPT = 1 << 31
"""The most numbers, 8 GiB, that are kept of what frozen stages give; of more images they run in every epoch."""

_MOVING = "moving/"


class TorchRun(Run):
    """One run in training by torch's autograd and optimisers."""

    def __init__(self, spec: RunSpec, dataset: Dataset) -> None:
        require_precision(spec.recipe.train)
        super().__init__(spec, dataset)
        rates = self.model.rates() if isinstance(self.model, Pretrained) else None
        learning = [each for _, each in self.model.named_parameters() if rates is None or each.requires_grad]
        scales = None if rates is None else list(rates.values())
        self.optimizer = build_optimizer(spec.recipe.optim, learning, scales)
        decay = spec.recipe.train.average
        self.average = None if decay is None else WeightAverage(self.new_model(), decay)

    @cached_property
    def early(self) -> EarlyStages | None:
        """The frozen stages, where they are run once: images are the same in every epoch, and so is what these give."""
        model = self.model
        if not isinstance(model, Pretrained) or self.recipe.augment != AugmentConfig():
            return None
        early = model.early_stages()
        if early is None or len(self.train) * math.prod(early.shape) > MOST_KEPT:
            return None
        return early

    @cached_property
    def kept_train(self) -> Kept:
        """What the frozen stages give for the source's training images."""
        assert self.early is not None
        return self.early.outputs(self.dataset.train.images, f"{self.dataset.fingerprint}/train")

    @cached_property
    def kept_val(self) -> Kept:
        """What the frozen stages give for the validation images; nothing more is computed where these are of train."""
        assert self.early is not None
        if self.drawn.val_indices is not None:
            return Kept(self.kept_train.outputs[torch.from_numpy(self.drawn.val_indices)], 0.0)
        name = "test" if self.val_is_test else "val"
        return self.early.outputs(self.drawn.val.images, f"{self.dataset.fingerprint}/{name}")

    def prepare(self) -> float:
        """See `Run.prepare`: what the frozen stages give."""
        return 0.0 if self.early is None else self.kept_train.seconds + self.kept_val.seconds

    def pass_over_train(self, epoch: int) -> Sums:
        """Make one update per batch: the training loop."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.dropout_seed(epoch))
            return self._updates(epoch)

    def _updates(self, epoch: int) -> Sums:
        model, parameters = self.model, list(self.model.parameters())
        augmenter = self.augmenter(epoch)
        sums = torch.zeros(4, dtype=torch.float64)
        model.train()
        steps, before = 0, (epoch - 1) * self.steps_per_epoch
        for indices in self.batches(epoch):
            set_rate(self.optimizer, self.rate(before + steps))
            self.optimizer.zero_grad()
            loss, correct = self.add_gradients(model, indices, augmenter, steps)
            update(self.optimizer)
            steps += 1
            if self.average is not None:
                self.average.add(model, before + steps)
            with torch.no_grad():
                norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
                sums += torch.stack([loss, correct, norm, torch.tensor(len(indices))])
            if steps % FINITE_CHECK_STEPS == 0 and not math.isfinite(sums[0].item()):
                break
        loss_sum, correct_sum, norm_sum, examples = sums.tolist()
        return Sums(loss_sum, correct_sum, norm_sum, int(examples), steps)

    def seen(self, model: nn.Module, indices: torch.Tensor, augmenter: Augmenter) -> tuple[nn.Module, torch.Tensor]:
        """See `Run.seen`; what frozen stages gave, where that is kept."""
        if model is not self.model or self.early is None:
            return super().seen(model, indices, augmenter)
        return self.early.rest, self.kept_train.outputs[indices]

    def logits(self, batches: Batches) -> torch.Tensor:
        """See `Run.logits`."""
        if batches is not self.val or self.early is None or self.average is not None:
            return logits_of(self.trained_model(), batches, self.normalisation)
        self.model.eval()
        with torch.inference_mode():
            return torch.cat([self.early.rest(some) for some in self.kept_val.outputs.split(BATCH)])

    def gradient_norms(self) -> dict[str, float] | None:
        """See `Run.gradient_norms`."""
        return layer_gradient_norms(self.model)

    def trained_model(self) -> nn.Module:
        """See `Run.trained_model`: the average, where there is one."""
        return self.model if self.average is None else self.average.network

    def weights(self) -> Arrays:
        """See `Run.weights`."""
        return _arrays(self.trained_model())

    def load_weights(self, weights: Arrays) -> None:
        """See `Run.load_weights`."""
        _load(self.trained_model(), weights)

    def optimizer_state(self) -> Arrays:
        """Return what torch keeps for each parameter, as ``index/key``; and the weights that an average is made of."""
        moving = {} if self.average is None else _arrays(self.model)
        return {f"{_MOVING}{name}": array for name, array in moving.items()} | {
            f"{index}/{key}": _array(torch.as_tensor(value))
            for index, entries in self.optimizer.state_dict()["state"].items()
            for key, value in entries.items()
        }

    def load_optimizer_state(self, state: Arrays) -> None:
        """See `Run.load_optimizer_state`."""
        moving = {name.removeprefix(_MOVING): array for name, array in state.items() if name.startswith(_MOVING)}
        if moving:
            _load(self.model, moving)
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for name, array in state.items():
            if name.startswith(_MOVING):
                continue
            index, _, key = name.partition("/")
            entries.setdefault(int(index), {})[key] = torch.from_numpy(array.copy())
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": entries})


class TorchEngine(SerialEngine):
    """Trains with torch, in this process, with as many threads as torch is set to."""

    kind = TorchRun

    def trial(self, spec: RunSpec, dataset: Dataset) -> Run:
        """See `SerialEngine.trial`; what frozen stages give is taken to be kept already."""
        run = TorchRun(spec, dataset)
        if run.early is not None:
            run.kept_train = Kept(torch.zeros(len(run.train), *run.early.shape), 0.0)
        return run


def _arrays(model: nn.Module) -> Arrays:
    return {name: _array(tensor) for name, tensor in model.state_dict().items()}


def _load(model: nn.Module, weights: Arrays) -> None:
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})


def _array(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Copy to row-major memory, which is how safetensors stores arrays."""
    return tensor.detach().cpu().contiguous().clone(memory_format=torch.contiguous_format).numpy()
