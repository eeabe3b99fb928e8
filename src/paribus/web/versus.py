"""Run against run: two arms, or two runs, of one experiment beside each other."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import arms
from paribus.experiment import Experiment
from paribus.report.figures import looks
from paribus.stats import crossed
from paribus.store import Predictions, Results, Run, TestSet
from paribus.web import curves, live
from paribus.web.memory import Memory
from paribus.web.replies import RefusedError, shown
from paribus.web.schema import Agreement, Confrontation, Curves, Difference, RecipeDifference, Side, TestImage
from paribus.wording import setting

MOST_IMAGES = 48
_KEPT_SETS = 2
_LOADING = Lock()


@dataclass(frozen=True)
class _Chosen:
    """One side: an arm, or with a seed one run of it; `runs` have ended, `watched` are all of it."""

    label: str
    arm: str
    seed: int | None
    runs: tuple[Run, ...]
    watched: tuple[live.Watched, ...]


def confront(results: Results, memory: Memory, first: str, second: str) -> Confrontation:
    """Put two sides beside each other.

    Args:
        results: The result folder.
        memory: Keeps what was read.
        first: An arm, such as ``"relu"``, or one run of it, ``"relu/3"``.
        second: Another.

    Raises:
        RefusedError: If there is no such arm or seed.
        StoreError: If a file is damaged.
    """
    watched = live.watch(results, memory)
    sides = tuple(_choose(results, watched, text) for text in (first, second))
    difference, agreement = _by_images(results, watched, *sides)
    recipes = [results.experiment.arms[side.arm].recipe.model_dump(mode="json") for side in sides]
    return Confrontation(
        first=_side(sides[0]),
        second=_side(sides[1]),
        recipe=_recipe_differences(*recipes),
        difference=difference,
        agreement=agreement,
        curves=_curves(sides),
    )


def choices(experiment: Experiment) -> dict[str, list[str]]:
    """Return what can be chosen as a side: by arm, the arm itself and each of its runs."""
    return {arm: [arm, *(f"{arm}/{seed}" for seed in experiment.seeds_of(arm))] for arm in experiment.arms}


def image(results: Results, data: str, index: int) -> bytes:
    """Return a test image as PNG.

    Args:
        results: The result folder.
        data: The test set's fingerprint, as `Agreement.data` names it.
        index: Which of its images.

    Raises:
        RefusedError: If there is no such set or image.
        StoreError: If the set is damaged.
    """
    path = next((each for each in (results.folder / "data").glob("*.npz") if each.stem == data), None)
    if path is None:
        raise RefusedError(404, f"There must be a test set of this name, but there is no `{shown(data)}`.")
    with _LOADING:  # A page asks for many images at once, and the first of them loads the set for all.
        pixels = _test_set(results, data, path.stat().st_mtime_ns).images
    if not 0 <= index < len(pixels):
        raise RefusedError(404, f"There are {len(pixels):,} test images, counted from 0, but {index} was asked for.")
    return _png(pixels[index])


def _choose(results: Results, watched: Sequence[live.Watched], text: str) -> _Chosen:
    known = {choice: arm for arm, of_arm in choices(results.experiment).items() for choice in of_arm}
    if text not in known:
        raise RefusedError(
            404, f"A side must be an arm or a run of it, such as `control` or `control/0`, but got `{shown(text)}`."
        )
    arm = known[text]
    seed = None if text == arm else int(text.rpartition("/")[2])
    return _Chosen(
        label=f"{arm}, {'all seeds' if seed is None else f'seed {seed}'}",
        arm=arm,
        seed=seed,
        runs=tuple(run for run in results.runs(arm) if seed in (None, run.result.seed)),
        watched=tuple(run for run in watched if run.arm == arm and seed in (None, run.seed)),
    )


def _side(side: _Chosen) -> Side:
    ended = [run.result for run in side.runs]
    losses = [result.test_loss for result in ended if result.test_loss is not None]
    validated = [
        record.val_accuracy for run in side.runs for record in run.epochs if record.epoch == run.result.epoch_kept
    ]
    known = [value for value in validated if value is not None]
    return Side(
        label=side.label,
        arm=side.arm,
        seed=side.seed,
        runs=len(ended),
        test_accuracy=live.accuracy(ended),
        test_loss=_mean(losses) if len(losses) == len(ended) else None,
        val_accuracy=_mean(known) if len(known) == len(ended) else None,
        seconds=float(np.median([result.seconds for result in ended])) if ended else None,
        epochs=_mean([float(result.epochs) for result in ended]),
        parameters=ended[0].parameters if ended else None,
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _recipe_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[RecipeDifference]:
    flat = [
        {f"{table}.{key}": setting(value) for table, keys in recipe.items() for key, value in keys.items()}
        for recipe in (first, second)
    ]
    names = dict.fromkeys([*flat[0], *flat[1]])
    pairs = ((name, *(each.get(name, "(absent)") for each in flat)) for name in names)
    return [RecipeDifference(key=name, first=one, second=other) for name, one, other in pairs if one != other]


def _curves(sides: Sequence[_Chosen]) -> Curves:
    labels = [sides[0].label, f"{sides[1].label} again" if sides[1].label == sides[0].label else sides[1].label]
    groups = {label: side.watched for label, side in zip(labels, sides, strict=True)}
    return Curves(question=None, panels=curves.panels(groups, looks(labels, labels[0])))


def _by_images(
    results: Results, watched: Sequence[live.Watched], first: _Chosen, second: _Chosen
) -> tuple[Difference, Agreement | None]:
    """Compare the predictions image by image, where both were tested on the same."""
    for side in (first, second):
        if not side.runs:
            return _none(f"No run of {side.label} has ended yet."), None
    predictions = ([run.predictions() for run in first.runs], [run.predictions() for run in second.runs])
    images = arms.images_tested_on(results, _prints(results, watched))
    labels = [each[0].labels for each in predictions]
    if images[first.arm] != images[second.arm] or not np.array_equal(labels[0], labels[1]):
        return _none("The two were tested on different images."), None
    data = str(first.runs[0].config()["data_fingerprint"])
    names = results.class_names(data)
    return _difference(first, second, predictions), _agreement(data, names, *predictions)


def _prints(results: Results, watched: Sequence[live.Watched]) -> dict[str, str]:
    """Return the data fingerprint of every arm with a run that has ended."""
    ended = {each.arm: (each.seed, each.result) for each in reversed(watched) if each.result is not None}
    runs = {arm: Run(results.run_folder(arm, seed), result, ()) for arm, (seed, result) in ended.items()}
    return {arm: str(run.config()["data_fingerprint"]) for arm, run in runs.items()}


def _none(reason: str) -> Difference:
    return Difference(value=None, ci95=None, p=None, reason=reason)


def _difference(
    first: _Chosen, second: _Chosen, predictions: tuple[Sequence[Predictions], Sequence[Predictions]]
) -> Difference:
    """Second minus first on new images, over the seeds that both have; two single runs need not share theirs."""
    seeds = tuple([run.result.seed for run in side.runs] for side in (first, second))
    common = [seed for seed in seeds[0] if seed in seeds[1]]
    places = tuple([own.index(seed) for seed in common] for own in seeds)
    if first.seed is not None and second.seed is not None:
        places = ([0], [0])
    if not places[0]:
        return _none("No seed has a run of both that has ended.")
    rows = [np.stack([found[at].correct for at in own]) for found, own in zip(predictions, places, strict=True)]
    found = crossed(rows[1].astype(np.float64), rows[0].astype(np.float64))
    reason = None if found.ci95 else "The two did not differ from run to run or image to image: no spread to judge by."
    return Difference(value=found.difference, ci95=found.ci95, p=found.p, reason=reason)


def _agreement(
    data: str, names: Sequence[str], first: Sequence[Predictions], second: Sequence[Predictions]
) -> Agreement:
    labels = first[0].labels
    shares = [np.mean([each.correct for each in found], axis=0) for found in (first, second)]
    right = [share > 0.5 for share in shares]
    apart = np.abs(shares[0] - shares[1])
    places = np.argsort(-apart, kind="stable")[:MOST_IMAGES]
    said = [np.stack([each.classes for each in found]) for found in (first, second)]
    return Agreement(
        both=int((right[0] & right[1]).sum()),
        only_first=int((right[0] & ~right[1]).sum()),
        only_second=int((~right[0] & right[1]).sum()),
        neither=int((~right[0] & ~right[1]).sum()),
        data=data,
        images=[
            TestImage(
                index=int(place),
                true=names[labels[place]],
                first=_most_said(said[0][:, place], names),
                first_right=float(shares[0][place]),
                second=_most_said(said[1][:, place], names),
                second_right=float(shares[1][place]),
            )
            for place in places
            if apart[place] > 0
        ],
    )


def _most_said(classes: npt.NDArray[np.int64], names: Sequence[str]) -> str:
    values, counts = np.unique(classes, return_counts=True)
    answer = int(values[counts.argmax()])
    return "no class" if answer < 0 else names[answer]


@lru_cache(maxsize=_KEPT_SETS)
def _test_set(results: Results, data: str, _written: int) -> TestSet:
    return results.test_set(data)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(buffer, "png")
    return buffer.getvalue()
