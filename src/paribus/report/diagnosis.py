"""What the best arm gets wrong: confusion matrix, accuracy of each class, worst errors as images."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from paribus.experiment import CONTROL
from paribus.metrics import confusion, worst_errors
from paribus.report import figures
from paribus.report.material import Material
from paribus.report.page import Cell, Figure, Picture, Section, Table
from paribus.stats import Interval, wilson
from paribus.store import Predictions, Run, TestSet
from paribus.wording import count, percent

Counts = npt.NDArray[np.int64]
_PICTURES = 24
_CLASSES_DRAWN = 16
_MATRIX_DRAWN = 60
_CONFUSIONS_LISTED = 8
_PICTURE_PIXELS = 112


def diagnosis(material: Material) -> Section:
    """Return the section on the arm that validation puts first, or the control where validation says nothing."""
    arm, why = _chosen(material)
    runs = material.runs[arm]
    if not runs:
        return Section("diagnosis", "Diagnosis", ("No run has finished, so there is nothing to diagnose.",))
    test = material.results.test_set(runs[0].config()["data_fingerprint"])
    finished = [run for run in runs if run.result.status == "finished"]
    if not finished:
        return Section(
            "diagnosis", f"Diagnosis of {arm}", (why, "All of its runs diverged, so there is nothing to show.")
        )
    predictions = [run.predictions() for run in finished]
    size = len(test.class_names)
    counts = np.sum([confusion(each.labels, each.classes, size) for each in predictions], axis=0)
    pictures = _pictures(test, finished, predictions)
    scope = f"Figures and images below are those of its {count(len(finished), 'finished run')}"
    scope += f" on {count(len(test.labels), 'test image')}."
    return Section(
        id="diagnosis",
        title=f"Diagnosis of {arm}",
        paragraphs=(why, scope),
        tables=tuple(_tables(counts, test.class_names, len(finished))),
        figures=tuple(_figures(counts, test.class_names, len(finished))),
        pictures=pictures,
        figures_note=_note(len(test.class_names)),
    )


def _chosen(material: Material) -> tuple[str, str]:
    """Return the arm to diagnose and how it was chosen."""
    by_arm = {arm: material.val_accuracy(arm) for arm in material.runs}
    known = {arm: value for arm, value in by_arm.items() if value is not None}
    if not known:
        why = "No arm has a validation accuracy to choose by, so this is the control. The test set chooses nothing."
        return CONTROL, why
    arm = max(known, key=lambda name: known[name])
    accuracy = percent(known[arm])
    named = (
        f"{arm} has the highest mean validation accuracy, {accuracy} %" if len(known) > 1 else f"{arm} is the only arm"
    )
    if material.val_is_test:
        return arm, f"{named}. Here the validation set is the test set, so this choice did see the test images."
    return arm, f"{named}; it was chosen on validation, never by the test set."


def _figures(counts: Counts, names: Sequence[str], runs: int) -> list[Figure]:
    found = []
    pairs = _worst_pairs(counts, names)
    if len(names) <= _MATRIX_DRAWN:
        most = (
            f" Most frequent: {'; '.join(f'{true} taken for {other}' for true, other, _ in pairs[:3])}."
            if pairs
            else ""
        )
        alt = f"Confusion matrix of {len(names)} classes in percent of each true class.{most}"
        wide = len(names) > figures.CLASSES_WRITTEN
        share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        svg = figures.confusion(share[:, : len(names)], names)
        found.append(Figure("diagnosis-confusion", svg, alt, "Confusion matrix, percent of each true class", wide))
    rows = _class_rows(counts, names, runs)[:_CLASSES_DRAWN]
    drawn = 100 * np.array([[row.accuracy, *row.ci95] for row in rows])
    svg = figures.class_accuracy([row.name for row in rows], drawn[:, 0], drawn[:, 1], drawn[:, 2])
    worst = ", ".join(f"{row.name} {percent(row.accuracy)} %" for row in rows[:5])
    alt = f"Test accuracy by class, worst first: {worst}."
    which = f"the {len(rows)} worst classes" if len(rows) < len(names) else "every class"
    found.append(Figure("diagnosis-classes", svg, alt, f"Test accuracy of {which}, with 95 % interval"))
    return found


@dataclass(frozen=True)
class _ClassRow:
    """One class: its accuracy over the runs, and Wilson's interval for one run's number of images."""

    name: str
    accuracy: float
    ci95: Interval


def _class_rows(counts: Counts, names: Sequence[str], runs: int) -> list[_ClassRow]:
    """Return the classes that the test set holds, worst first."""
    rows = []
    for index, name in enumerate(names):
        correct, total = int(counts[index, index]), int(counts[index].sum())
        if total:
            rows.append(_ClassRow(name, correct / total, wilson(round(correct / runs), total // runs)))
    return sorted(rows, key=lambda row: row.accuracy)


def _worst_pairs(counts: Counts, names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Return (true class, predicted class, count over all runs), most frequent first.

    `counts` is (K, K + 1), as `metrics.confusion` gives it: the last column holds images without an answer.
    """
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(-errors, axis=None, kind="stable")[:_CONFUSIONS_LISTED]
    found = [np.unravel_index(index, errors.shape) for index in order]
    answers = [*names, "no answer"]
    return [(names[row], answers[column], int(errors[row, column])) for row, column in found if errors[row, column]]


def _tables(counts: Counts, names: Sequence[str], runs: int) -> list[Table]:
    totals = dict(zip(names, counts.sum(axis=1), strict=True))
    rows = tuple(
        (Cell(true), Cell(other), Cell(f"{times / runs:.1f}"), Cell(percent(times / totals[true])))
        for true, other, times in _worst_pairs(counts, names)
    )
    if not rows:
        return []
    head = ("True class", "Taken for", "Images per run", "Share of the class (%)")
    return [Table("The most frequent confusions, mean over runs", head, rows, (2, 3))]


def _pictures(test: TestSet, runs: Sequence[Run], predictions: Sequence[Predictions]) -> tuple[Picture, ...]:
    indices = worst_errors(predictions, _PICTURES)
    return tuple(
        _picture(place, int(index), test, [int(each.classes[index]) for each in predictions])
        for place, index in enumerate(indices, start=1)
    )


def _picture(place: int, index: int, test: TestSet, answers: Sequence[int]) -> Picture:
    names = test.class_names
    true = names[int(test.labels[index])]
    # Most frequent first, ties by class, so that rebuilding gives the same text.
    ranked = sorted(Counter(answers).items(), key=lambda item: (-item[1], item[0]))
    said = [(names[answer] if answer >= 0 else "no answer", times) for answer, times in ranked]
    if len(said) == 1:
        predicted = said[0][0] + (f" in all {len(answers)} runs" if len(answers) > 1 else "")
    else:
        predicted = ", ".join(f"{name} in {count(times, 'run')}" for name, times in said)
    alt = f"Test image {index}: true class {true}, predicted {predicted}"
    return Picture(f"error-{place:02d}", _png(test.images[index]), alt, true, predicted)


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    """Encode an image (C, H, W), enlarged by a whole factor so that small ones can be seen without smoothing."""
    from PIL import Image

    pixels = np.moveaxis(image, 0, -1)
    factor = max(1, round(_PICTURE_PIXELS / max(pixels.shape[:2])))
    pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _note(classes: int) -> str:
    note = "The interval of a class is Wilson's for its number of test images at the mean accuracy over runs."
    if classes > _MATRIX_DRAWN:
        note += f" A confusion matrix of {classes} classes cannot be read, so only the table lists confusions."
    return note
