"""One section per question: its comment, its table, its curves and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paribus.checks import of_question
from paribus.experiment import CONTROL, Question
from paribus.report import figures, words
from paribus.report.evidence import Evidence, check_lines
from paribus.report.figures import Dots, Look, Series
from paribus.report.page import Cell, Figure, Section, Table
from paribus.wording import count


def section(evidence: Evidence, question: Question) -> Section:
    """Return the section of one question."""
    entry = evidence.question(question.id)
    arms = list(dict.fromkeys(([] if CONTROL in question.arms else [CONTROL]) + list(question.arms)))
    comment = " ".join(sentence["text"] for sentence in entry.get("comment", []))
    places = {of_question(question), *question.arms} - {CONTROL}
    return Section(
        id=f"question-{question.id}",
        label=question.id,
        title=question.asks,
        paragraphs=(comment,) if comment else (),
        notices=tuple(check_lines([check for check in evidence.checks() if check["where"] in places])),
        tables=(_table(evidence, question, entry, arms),),
        figures=tuple(_figures(evidence, question, entry, arms)),
    )


def comparisons(entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return a question's comparisons by arm."""
    return {comparison["arm"]: comparison for comparison in entry.get("comparisons", [])}


def verdict_cell(comparison: Mapping[str, Any]) -> Cell:
    """Return the verdict in its colour, with what would settle an open question, or why there is no better answer."""
    verdict, reason = comparison["verdict"], comparison.get("reason") or ""
    seeds, images = comparison.get("seeds_needed"), comparison.get("test_images_needed")
    needed = [count(number, noun) for number, noun in ((seeds, "seed"), (images, "test image")) if number]
    if needed:
        small = f"about {' or '.join(needed)} would decide"
    elif verdict == "undecided" and comparison.get("p_equivalence") is not None:
        small = "neither more seeds nor more images alone would decide"
    else:
        small = f"see {reason.partition(':')[0]}" if verdict == "invalid" and reason else reason
    return Cell(verdict, small, verdict)


def best_of_sweep(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the point of a sweep that validation chose, or None."""
    sweep = entry.get("sweep") or {}
    best = sweep.get("best")
    return next((point for point in sweep.get("values", []) if best is not None and point["arm"] == best), None)


def cost(evidence: Evidence, arm: str) -> Cell:
    """Return the time per run, and how many times the control's it is."""
    entry, control = evidence.arm(arm), evidence.arm(CONTROL)
    if entry is None:
        return Cell(words.NOTHING)
    ratio = ""
    if control is not None and arm != CONTROL and control["seconds_per_run"]:
        ratio = f"{entry['seconds_per_run'] / control['seconds_per_run']:.2f} {words.TIMES} control"
    return Cell(words.seconds(entry["seconds_per_run"]), ratio)


def _table(evidence: Evidence, question: Question, entry: Mapping[str, Any], arms: Sequence[str]) -> Table:
    """The table of a question; a sweep shows the factor's value and val, and no differences where none was tested."""
    compared = comparisons(entry)
    is_sweep = question.factor is not None
    head = ["Arm", question.factor or "What changed", "Runs", "Test accuracy (%)", "Test loss"]
    if is_sweep:
        head.insert(3, "Val accuracy (%)")
    if compared or not is_sweep:
        head += [f"Difference ({words.unit(question.metric)})", "These test images only", "p (Holm)", "Verdict"]
    head.append("Time per run")
    rows = []
    for arm in arms:
        tested = _comparison_cells(evidence, compared.get(arm)) if compared or not is_sweep else ()
        rows.append((*_arm_cells(evidence, question, arm), *tested, cost(evidence, arm)))
    numeric = tuple(index for index, name in enumerate(head) if index > 1 and name != "Verdict")
    caption = f"Every arm of “{question.id}” against the control, with 95 % intervals in small print"
    return Table(caption, tuple(head), tuple(rows), numeric)


def _arm_cells(evidence: Evidence, question: Question, arm: str) -> tuple[Cell, ...]:
    digits, entry, design = evidence.digits, evidence.arm(arm) or {}, evidence.experiment.arms[arm]
    accuracy, loss = entry.get("test_accuracy") or {}, entry.get("test_loss") or {}
    measured = (
        Cell(words.percent(accuracy.get("mean"), digits), words.span(accuracy.get("ci95"), digits)),
        Cell(words.loss(loss.get("mean")), words.loss_span(loss.get("ci95"))),
    )
    if question.factor is not None:
        value = words.setting(design.recipe.factor(question.factor))
        val = Cell(words.percent(evidence.val_accuracy(arm), digits))
        return Cell(arm), Cell(value), _runs_cell(evidence, arm), val, *measured
    changed = "nothing" if arm == CONTROL else words.changes(design, evidence.experiment)
    return Cell(arm), Cell(changed), _runs_cell(evidence, arm), *measured


def _comparison_cells(evidence: Evidence, comparison: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    if comparison is None:
        return (Cell(words.NOTHING),) * 4
    metric, digits = comparison["metric"], evidence.digits
    interval = words.difference_span(comparison["ci95"], metric, digits)
    here = words.difference_span(comparison.get("ci95_this_test_set"), metric, digits) or words.NOTHING
    return (
        Cell(words.difference(comparison["difference"], metric, digits), interval),
        Cell(here),
        Cell(words.probability(comparison.get("p_holm"))),
        verdict_cell(comparison),
    )


def _runs_cell(evidence: Evidence, arm: str) -> Cell:
    runs, wanted = evidence.runs(arm), len(evidence.experiment.seeds)
    diverged = sum(run.result.status == "diverged" for run in runs)
    text = f"{len(runs)}" if len(runs) == wanted else f"{len(runs)} of {wanted}"
    return Cell(text, f"{diverged} diverged" if diverged else "")


def _figures(evidence: Evidence, question: Question, entry: Mapping[str, Any], arms: Sequence[str]) -> list[Figure]:
    drawn = [arm for arm in arms if evidence.runs(arm)]
    if not drawn:
        return []
    values = [evidence.experiment.arms[arm].recipe.factor(question.factor or "optim.lr") for arm in arms]
    is_ordered = question.kind == "sweep" and all(type(value) in (int, float) for value in values)
    look = figures.looks(arms, CONTROL, is_ordered=is_ordered)
    dots = [_dots(evidence, question, arm, look[arm]) for arm in drawn]
    best = best_of_sweep(entry)
    if question.kind == "sweep" and len(drawn) > 1:
        found = [_sweep_figure(evidence, question, dots, None if best is None else str(best["arm"]))]
    else:
        found = [_dots_figure(evidence, question, dots)]
    for key, title in _CURVES.items():
        series = [_series(evidence, arm, key, look[arm]) for arm in drawn]
        if any(np.isfinite(run).any() for one in series for run in one.runs):
            found.append(_curve_figure(question, key, title, series))
    return found


def _dots(evidence: Evidence, question: Question, arm: str, look: Look) -> Dots:
    runs, accuracy = evidence.runs(arm), (evidence.arm(arm) or {}).get("test_accuracy") or {}
    values = tuple(100 * run.result.test_accuracy for run in runs)
    interval = accuracy.get("ci95")
    value = evidence.experiment.arms[arm].recipe.factor(question.factor) if question.factor else ""
    return Dots(
        arm,
        look,
        values,
        sum(values) / len(values),
        None if interval is None else (100 * interval[0], 100 * interval[1]),
        sum(run.result.status == "diverged" for run in runs),
        value if isinstance(value, int | float) else str(value),
    )


def _series(evidence: Evidence, arm: str, key: str, look: Look) -> Series:
    runs = [run for run in evidence.runs(arm) if run.epochs]
    curves = tuple(evidence.curve(run, key) for run in runs)
    return Series(arm, look, curves, tuple(run.result.status == "diverged" for run in runs))


def _curve_figure(question: Question, key: str, title: str, series: Sequence[Series]) -> Figure:
    is_accuracy = key.endswith("accuracy")
    label = f"{title} (%)" if is_accuracy else f"{title} (nats)"
    svg = figures.learning_curves(series, label, "accuracy" if is_accuracy else "loss")
    ends = [f"{one.arm} {_end(one)}{' %' if is_accuracy else ''}" for one in series if one.runs]
    alt = f"{title.capitalize()} by epoch. After the last epoch, mean over seeds: {', '.join(ends)}."
    return Figure(f"{question.id}-{key.replace('_', '-')}", svg, alt, f"{title.capitalize()} by epoch")


def _end(series: Series) -> str:
    ends = np.array([run[-1] for run in series.runs])
    return "not finite" if not np.isfinite(ends).all() else f"{ends.mean():.4g}"


def _dots_figure(evidence: Evidence, question: Question, dots: Sequence[Dots]) -> Figure:
    alt = f"Test accuracy of every seed. {_means(evidence, dots)}"
    caption = "Test accuracy: a dot per seed, the mean and its 95 % interval"
    return Figure(f"{question.id}-seeds", figures.seed_dots(dots), alt, caption)


def _sweep_figure(evidence: Evidence, question: Question, dots: Sequence[Dots], best: str | None) -> Figure:
    assert question.factor is not None
    arms = [one for one in dots if one.arm in question.arms]
    svg = figures.sweep_curve(arms, question.factor, CONTROL, best)
    chosen = f" Validation chose {best}, ringed." if best else ""
    alt = f"Test accuracy over {question.factor}. {_means(evidence, arms)}{chosen}"
    caption = f"Test accuracy over {question.factor}: seeds, mean, 95 % interval" + (
        "; ringed: chosen on val" if best else ""
    )
    return Figure(f"{question.id}-sweep", svg, alt, caption)


def _means(evidence: Evidence, dots: Sequence[Dots]) -> str:
    said = []
    for one in dots:
        interval = f" ({one.ci95[0]:.{evidence.digits}f} to {one.ci95[1]:.{evidence.digits}f})" if one.ci95 else ""
        lost = f", {one.diverged} diverged" if one.diverged else ""
        said.append(f"{one.arm} {one.mean:.{evidence.digits}f} %{interval}{lost}")
    return f"Means with 95 % intervals: {'; '.join(said)}."


_CURVES = {
    "val_accuracy": "validation accuracy",
    "train_loss": "training loss",
    "val_loss": "validation loss",
}
