"""The suite that every engine passes; an engine's author calls `check_engine` in a test."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import torch

from paribus.config import Recipe
from paribus.data.dataset import Split
from paribus.engines.engine import Engine, EpochEnd, RunEnd, TuningEnd
from paribus.experiment import RunSpec
from paribus.store import Checkpoint, EpochRecord
from paribus.testing.datasets import easy_dataset

DATASET = easy_dataset()


def spec_for(recipe: Recipe) -> RunSpec:
    """Return a run of the recipe on `DATASET`."""
    return RunSpec("arm", 0, recipe, DATASET.fingerprint, "under-test")


def check_engine(engine: Engine, recipe: Recipe) -> None:
    """Train a recipe on `DATASET` in several ways and compare, bit for bit.

    Args:
        engine: The engine to be checked.
        recipe: A recipe that it serves, with at least 3 epochs and a rate at which the easy data is learnt.

    Raises:
        AssertionError: Naming the promise that does not hold.
    """
    assert recipe.train.epochs >= 3, "the suite interrupts after each of at least 3 epochs"
    spec = spec_for(recipe)
    epochs, end = fit_one(engine, spec)
    _check_records(spec, epochs, end)
    _check_streams(engine, spec, end)
    for event in epochs[:-1]:
        checkpoint = Checkpoint(event.record.epoch, event.state)
        later, resumed = fit_one(engine, spec, checkpoint)
        assert [e.record for e in later] == [e.record for e in epochs[event.record.epoch :]], (
            f"going on after epoch {event.record.epoch} must give the same records"
        )
        _require_same(f"going on after epoch {event.record.epoch}", end, resumed)
    _check_packing(engine, spec, end)
    _check_blind_to_test(engine, spec, end)
    _check_tuning(engine, spec, epochs, end)


def fit_one(engine: Engine, spec: RunSpec, checkpoint: Checkpoint | None = None) -> tuple[list[EpochEnd], RunEnd]:
    """Train one run and return its epochs and its end."""
    checkpoints = {} if checkpoint is None else {spec.digest: checkpoint}
    events = list(engine.fit([spec], DATASET, checkpoints))
    ends = [event for event in events if isinstance(event, RunEnd)]
    assert len(ends) == 1 and events[-1] is ends[0], "a run must end with exactly one RunEnd, after its epochs"
    return [event for event in events if isinstance(event, EpochEnd)], ends[0]


def _check_records(spec: RunSpec, epochs: list[EpochEnd], end: RunEnd) -> None:
    records = [event.record for event in epochs]
    assert [record.epoch for record in records] == list(range(1, spec.recipe.train.epochs + 1)), (
        "epochs must be numbered from 1, one event each"
    )
    first, last = records[0], records[-1]
    assert first.train_loss is not None and last.train_loss is not None, "the easy data must not make a run diverge"
    assert last.train_loss < first.train_loss, "the training loss must fall on the easy data"
    assert last.steps == end.result.steps, "the last record must count the steps of the whole run"
    assert end.result.status == "finished" and end.result.digest == spec.digest, "the result must name its run"
    assert end.result.test_accuracy == end.predictions.correct.mean(), "test accuracy must be that of the predictions"
    assert np.array_equal(end.predictions.labels, DATASET.test.labels), "predictions must keep the test set's order"
    _check_probes(records, end)


def _check_probes(records: list[EpochRecord], end: RunEnd) -> None:
    """An engine may probe nothing; what it does probe must be possible, and taken on the validation images."""
    for record in records:
        for name, norm in (record.layer_gradient_norms or {}).items():
            assert math.isfinite(norm) and norm >= 0, f"the gradient norm of `{name}` must be finite and at least 0"
    probes, result = end.probes, end.result
    if probes is None:
        return
    assert probes.images == min(result.val_examples, 1000), "probes must use the validation images, at most 1,000"
    for name, value in dataclasses.asdict(probes).items():
        assert not isinstance(value, float) or 0 <= value <= 1, f"`{name}` of the probes must be a fraction"
    if result.val_examples <= 1000:
        seen = records[result.epoch_kept - 1].val_accuracy
        assert probes.accuracy == seen, "probes must have the validation accuracy of the kept epoch"
    for layer in probes.layers:
        assert (layer.dead is None) != (layer.saturated is None), f"`{layer.layer}` must have dead units or saturation"
        assert 0 <= (layer.dead or 0) <= layer.units, f"`{layer.layer}` must not have more dead units than units"
        assert 0 <= (layer.saturated or 0) <= 1, f"the saturated share of `{layer.layer}` must be a fraction"


def _check_blind_to_test(engine: Engine, spec: RunSpec, end: RunEnd) -> None:
    """Other test images must change nothing but the predictions."""
    inverted = Split(255 - DATASET.test.images, DATASET.test.labels[::-1].copy())
    other = list(engine.fit([spec], dataclasses.replace(DATASET, test=inverted), {}))[-1]
    assert isinstance(other, RunEnd), "a run must end with its RunEnd"
    assert other.probes == end.probes, "other test images must not change what is probed"
    assert other.usage == end.usage, "other test images must not change how the network is used"
    for name, array in end.weights.items():
        assert np.array_equal(array, other.weights[name]), f"other test images must not change weights; `{name}` does"
    assert not np.array_equal(other.predictions.logits, end.predictions.logits), "the test images must be predicted"


def _check_streams(engine: Engine, spec: RunSpec, end: RunEnd) -> None:
    """A second training gives the same, though the global random streams stand elsewhere, and leaves them there."""
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = _streams()
    _require_same("a second training of the same run, with other global streams,", end, fit_one(engine, spec)[1])
    assert before == _streams(), "training must leave the global random streams of Python, numpy and torch as they were"


def _streams() -> tuple[object, list[int], list[int]]:
    """Where the global random streams of Python, numpy and torch stand."""
    by_numpy = np.random.get_state(legacy=False)
    assert isinstance(by_numpy, dict), "what numpy gives without `legacy`"
    state = by_numpy["state"]
    return random.getstate(), [*state["key"].tolist(), state["pos"]], torch.random.get_rng_state().tolist()


def _check_packing(engine: Engine, spec: RunSpec, alone: RunEnd) -> None:
    other = dataclasses.replace(spec, seed=spec.seed + 1)
    ends = {e.spec.seed: e for e in engine.fit([other, spec], DATASET, {}) if isinstance(e, RunEnd)}
    _require_same("training in a pack with another run", alone, ends[spec.seed])
    assert not np.array_equal(ends[other.seed].predictions.logits, alone.predictions.logits), (
        "another seed must give other logits"
    )


def _check_tuning(engine: Engine, spec: RunSpec, epochs: list[EpochEnd], tested: RunEnd) -> None:
    """A tuning run trains as any other and never looks at the test images, which raise here whoever does."""
    tuning = dataclasses.replace(spec, is_tuning=True)
    for begun in (0, 1):
        checkpoints = {tuning.digest: Checkpoint(begun, epochs[begun - 1].state)} if begun else {}
        *later, end = engine.fit([tuning], DATASET.without_test(), checkpoints)
        assert isinstance(end, TuningEnd), "a tuning run must end with TuningEnd"
        records = [event.record for event in later if isinstance(event, EpochEnd)]
        assert records == [event.record for event in epochs[begun:]], "a tuning run must train as any other run does"
        assert end.result.digest == tuning.digest and end.result.status == "finished", "its result must name its run"
        assert end.result.epochs == len(epochs), "its result must count its epochs"
        assert end.result.epoch_kept == tested.result.epoch_kept, "it must keep the epoch that another run would keep"


def _require_same(what: str, one: RunEnd, other: RunEnd) -> None:
    assert np.array_equal(one.predictions.logits, other.predictions.logits), f"{what} must give the same logits"
    assert one.weights.keys() == other.weights.keys(), f"{what} must give weights of the same names"
    for name, array in one.weights.items():
        assert np.array_equal(array, other.weights[name]), f"{what} must give the same weights; `{name}` differs"
    assert one.probes == other.probes, f"{what} must give the same probes"
    assert one.usage == other.usage, f"{what} must give the same temperature and normalisation"
