"""One section per question: its comment, its table, its curves and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paribus.arms import val_accuracy, val_accuracy_ci95, with_shared_seeds
from paribus.checks import of_question
from paribus.config import EPOCHS, Value
from paribus.experiment import CONTROL, Arm, Experiment, Metric, Question
from paribus.report import figures, mechanism
from paribus.report.figures import Dots, Look, Series
from paribus.report.material import Material, check_lines
from paribus.report.page import Cell, Comment, Figure, Section, Table
from paribus.report.tuning import rate_figures, tuning_tables
from paribus.stats import t_interval
from paribus.wording import (
    NOTHING,
    count,
    difference,
    duration,
    interval,
    level,
    loss,
    p_value,
    percent,
    ratio,
    setting,
    unit,
    verdict_note,
)


def section(material: Material, question: Question, checks: Sequence[Mapping[str, Any]]) -> Section:
    """Return the section of one question, with the fired checks that are told there."""
    entry = material.question(question.id)
    baselines = [material.experiment.baseline(arm) for arm in question.arms]
    arms = list(dict.fromkeys(([] if CONTROL in question.arms else [CONTROL, *baselines]) + list(question.arms)))
    return Section(
        id=f"question-{question.id}",
        label=question.id,
        title=question.asks,
        comment=_comment(entry),
        paragraphs=_paragraphs(entry),
        notices=tuple(check_lines(checks)),
        tables=(
            _table(material, question, entry, arms),
            *tuning_tables(material, question),
            *mechanism.tables(material, arms),
        ),
        figures=tuple(_figures(material, question, entry, arms)),
    )


def told_at(material: Material) -> dict[str, list[Mapping[str, Any]]]:
    """Return the fired checks that are told at a question, by the first question that they concern."""
    found: dict[str, list[Mapping[str, Any]]] = {question.id: [] for question in material.experiment.questions}
    for check in material.checks():
        places = ({of_question(each), *each.arms} - {CONTROL} for each in material.experiment.questions)
        concerned = zip(material.experiment.questions, places, strict=True)
        first = next((question.id for question, where in concerned if check["where"] in where), None)
        if first is not None:
            found[first].append(check)
    return found


def _comment(entry: Mapping[str, Any]) -> Comment:
    answer, evidence, limits, next_ = (_said(entry, part) for part in ("answer", "evidence", "limits", "next"))
    return Comment(tuple(answer), " ".join(evidence), " ".join(limits), " ".join(next_))


def _paragraphs(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What is said about learning rates, above their figure."""
    rates = _said(entry, "rates")
    return (" ".join(rates),) if rates else ()


def _said(entry: Mapping[str, Any], part: str) -> list[str]:
    return [sentence["text"] for sentence in entry["comment"] if sentence["part"] == part]


def comparisons(entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return a question's comparisons by arm."""
    return {comparison["arm"]: comparison for comparison in entry["comparisons"]}


def verdict_cell(comparison: Mapping[str, Any]) -> Cell:
    """Return the verdict in its colour, with what would settle an open question, or why there is no better answer."""
    return Cell(comparison["verdict"], verdict_note(comparison), comparison["verdict"])


def difference_texts(comparison: Mapping[str, Any], interval_key: str) -> tuple[str, str]:
    """Return a comparison's difference and one of its intervals, without unit; an interval of None is empty."""
    metric: Metric = comparison["metric"]
    ends = interval(comparison[interval_key], lambda end: difference(end, metric))
    return difference(comparison["difference"], metric), ends


def best_of_sweep(entry: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the row of a sweep that validation chose, or None."""
    sweep = entry["sweep"]
    return None if sweep is None else next((row for row in sweep["values"] if row["arm"] == sweep["best"]), None)


def cost(material: Material, arm: str) -> Cell:
    """Return the time per run, how many times the control's it is, and what features took that all runs read."""
    entry, times = material.arm(arm), times_control(material, arm)
    if entry is None:
        return Cell(NOTHING)
    small = [] if times is None else [f"{ratio(times)} × control"]
    if entry.get("features_seconds"):  # Verdicts of old lack it.
        often = "for each seed" if material.experiment.arms[arm].recipe.has_own_views else "once"
        small.append(f"features {duration(entry['features_seconds'])}, {often}")
    return Cell(duration(entry["seconds_per_run"]), "; ".join(small))


def times_control(material: Material, arm: str) -> float | None:
    """Return how many times the control's an arm's time per run is; None of the control, and where one has no time."""
    entry, control = material.arm(arm), material.arm(CONTROL)
    if arm == CONTROL or entry is None or control is None or not control["seconds_per_run"]:
        return None
    return float(entry["seconds_per_run"] / control["seconds_per_run"])


def _table(material: Material, question: Question, entry: Mapping[str, Any], arms: Sequence[str]) -> Table:
    """The table of a question; a sweep shows the factor's value and val, and no differences where none was tested."""
    compared = comparisons(entry)
    is_sweep = question.factor is not None
    head = ["Arm", question.factor or "What changed", "Runs", "Test accuracy (%)", "Test loss"]
    if is_sweep:
        head.insert(3, "Validation accuracy (%)")
    if compared or not is_sweep:
        head += [f"Difference ({unit(question.metric)})", "These test images only", "p (Holm)", "Verdict"]
    head.append("Time per run")
    rows = []
    for arm in arms:
        tested = _comparison_cells(compared.get(arm)) if compared or not is_sweep else ()
        rows.append((*_arm_cells(material, question, arm), *tested, cost(material, arm)))
    numeric = tuple(index for index, name in enumerate(head) if index > 1 and name != "Verdict")
    caption = f"Every arm of “{question.id}” against the control, with 95 % intervals in small print"
    if is_sweep and (seeds := _fewer_seeds(material, question)):
        caption += f"; validation accuracy is of the {count(seeds, 'seed')} that all values have"
    return Table(caption, tuple(head), tuple(rows), numeric)


def _fewer_seeds(material: Material, question: Question) -> int:
    """How many seeds all values of a sweep share, 0 where none has more or none is shared."""
    shared = with_shared_seeds(question, material.runs)
    seeds = {run.result.seed for runs in shared.values() for run in runs}
    return len(seeds) if any(len(material.runs[arm]) > len(seeds) for arm in shared) else 0


def _arm_cells(material: Material, question: Question, arm: str) -> tuple[Cell, ...]:
    entry, design = material.verdicts["arms"][arm], material.experiment.arms[arm]
    measured = tuple(
        Cell(write(entry[metric]["mean"]), interval(entry[metric]["ci95"], write))
        for metric, write in (("test_accuracy", percent), ("test_loss", loss))
    )
    if question.factor is not None:
        value = setting(design.recipe.factor(question.factor))
        runs = with_shared_seeds(question, material.runs).get(arm, ())
        val = Cell(percent(val_accuracy(runs)), interval(val_accuracy_ci95(runs), percent))
        return Cell(arm), Cell(value), _runs_cell(material, arm), val, *measured
    changed = "nothing" if arm == CONTROL else changes(design, material.experiment)
    against = material.experiment.baseline(arm)
    return (
        Cell(arm, "" if against == CONTROL else f"against {against}"),
        Cell(changed, _size(material, question, arm)),
        _runs_cell(material, arm),
        *measured,
    )


def _size(material: Material, question: Question, arm: str) -> str:
    """How many parameters an arm has, where those of the question differ in that.

    Nothing is said of heads and backbones: what is kept of a run on frozen features is its head alone.
    """
    names = [name for name in dict.fromkeys((CONTROL, *question.arms)) if material.runs[name]]
    if any(material.experiment.arms[name].recipe.model.name == "pretrained" for name in names):
        return ""
    counts = {name: material.runs[name][0].result.parameters for name in names}
    return count(counts[arm], "parameter") if arm in counts and len(set(counts.values())) > 1 else ""


def changes(arm: Arm, experiment: Experiment) -> str:
    """Return what an arm changes: `model.activation: tanh → relu`, and nothing else."""
    return "; ".join(f"{factor}: {_before(experiment, factor)} → {_after(arm, factor)}" for factor in arm.factors)


def _after(arm: Arm, factor: str) -> str:
    """The arm's value, with the word that asked for it where it was found."""
    word = setting(arm.factors[factor])
    return f"{setting(arm.found[factor].value)} ({word})" if factor in arm.found else word


def _before(experiment: Experiment, factor: str) -> str:
    """The control's value; an option that its model does not have, or that a user's class sets itself, is not there."""
    table, _, key = factor.partition(".")
    options: Mapping[str, Value] = experiment.control.model_dump()[table]
    if key in options:
        return setting(options[key])
    return "(as in the class)" if ":" in experiment.control.model.name else "(absent)"


def _comparison_cells(comparison: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    if comparison is None:
        return (Cell(NOTHING),) * 4
    _, here = difference_texts(comparison, "ci95_this_test_set")
    return (
        Cell(*difference_texts(comparison, "ci95")),
        Cell(here or NOTHING),
        Cell(p_value(comparison["p_holm"])),
        verdict_cell(comparison),
    )


def _runs_cell(material: Material, arm: str) -> Cell:
    runs, wanted = material.runs[arm], len(material.experiment.seeds_of(arm))
    diverged = sum(run.result.status == "diverged" for run in runs)
    text = f"{len(runs)}" if len(runs) == wanted else f"{len(runs)} of {wanted}"
    return Cell(text, f"{diverged} diverged" if diverged else "")


def _figures(material: Material, question: Question, entry: Mapping[str, Any], arms: Sequence[str]) -> list[Figure]:
    drawn = [arm for arm in arms if material.runs[arm]]
    values = [material.experiment.arms[arm].recipe.factor(question.factor or "optim.lr") for arm in arms]
    is_ordered = question.kind == "sweep" and all(type(value) in (int, float) for value in values)
    look = figures.looks(arms, CONTROL, is_ordered=is_ordered)
    about_rates = rate_figures(material, question, look)
    if not drawn:
        return list(about_rates)
    best = best_of_sweep(entry)
    if question.kind == "sweep" and len(drawn) > 1:
        found = [_sweep_figure(material, question, look, None if best is None else str(best["arm"]))]
    else:
        found = [_dots_figure(question, [_dots(material, question, arm, look[arm]) for arm in drawn])]
    found += about_rates
    longer = [arm for arm in drawn if set(material.experiment.arms[arm].factors) == {EPOCHS}]
    longer = [arm for arm in longer if any(len(run.epochs) > 1 for run in material.runs[arm])]  # A solved head has one.
    found += [_losses_figure(material, question, arm, look[arm]) for arm in longer]
    for key, title in _CURVES.items():
        series = [_series(material, arm, key, look[arm]) for arm in drawn]
        if any(len(run) > 1 and np.isfinite(run).any() for one in series for run in one.runs):
            found.append(_curve_figure(question, key, title, series))
    return found


def _dots(material: Material, question: Question, arm: str, look: Look, seeds: frozenset[int] | None = None) -> Dots:
    """The test accuracies of an arm; of some seeds only, with their own mean and t interval, where they are given."""
    runs, ends = material.runs[arm], material.verdicts["arms"][arm]["test_accuracy"]["ci95"]
    if seeds is not None and len(seeds) < len(runs):
        runs = tuple(run for run in runs if run.result.seed in seeds)
        ends = t_interval([run.result.test_accuracy for run in runs])
    values = tuple(100 * run.result.test_accuracy for run in runs)
    value = material.experiment.arms[arm].recipe.factor(question.factor) if question.factor else ""
    return Dots(
        arm,
        look,
        values,
        sum(values) / len(values),
        None if ends is None else (100 * ends[0], 100 * ends[1]),
        sum(run.result.status == "diverged" for run in runs),
        value if isinstance(value, int | float) else str(value),
    )


def _series(material: Material, arm: str, key: str, look: Look) -> Series:
    runs = [run for run in material.runs[arm] if run.epochs]
    curves = tuple(material.curve(run, key) for run in runs)
    return Series(arm, look, curves, tuple(run.result.status == "diverged" for run in runs))


def _curve_figure(question: Question, key: str, title: str, series: Sequence[Series]) -> Figure:
    is_accuracy = key.endswith("accuracy")
    label = f"{title} (%)" if is_accuracy else f"{title} (nats)"
    svg = figures.learning_curves(series, label, "accuracy" if is_accuracy else "loss")
    metric: Metric = "test_accuracy" if is_accuracy else "test_loss"
    ends = [f"{one.arm} {_end(one, metric)}" for one in series if one.runs]
    alt = f"{title.capitalize()} by epoch. After the last epoch, mean over seeds: {', '.join(ends)}."
    return Figure(f"{question.id}-{key.replace('_', '-')}", svg, alt, f"{title.capitalize()} by epoch")


def _end(series: Series, metric: Metric) -> str:
    ends = np.array([run[-1] for run in series.runs])
    if not np.isfinite(ends).all():
        return "not finite"
    return level(float(ends.mean()) / (100 if metric == "test_accuracy" else 1), metric)


def _losses_figure(material: Material, question: Question, arm: str, look: Look) -> Figure:
    """Training and validation loss of an arm that only trains longer, on one pair of axes."""
    both = [
        replace(_series(material, arm, key, replace(look, dash=dash)), arm=_CURVES[key])
        for key, dash in (("train_loss", "--"), ("val_loss", "-"))
    ]
    ends = ", ".join(f"{one.arm} {_end(one, 'test_loss')}" for one in both if one.runs)
    alt = (
        f"Training loss, dashed, and validation loss of {arm} by epoch. After the last epoch, mean over seeds: {ends}."
    )
    svg = figures.learning_curves(both, "loss (nats)", "loss")
    return Figure(
        f"{question.id}-losses-{arm}", svg, alt, f"Training loss (dashed) and validation loss of {arm} by epoch"
    )


def _dots_figure(question: Question, dots: Sequence[Dots]) -> Figure:
    alt = f"Test accuracy of every seed. {_means(dots)}"
    caption = "Test accuracy: a dot per seed, the mean and its 95 % interval"
    return Figure(f"{question.id}-seeds", figures.seed_dots(dots), alt, caption)


def _sweep_figure(material: Material, question: Question, look: Mapping[str, Look], best: str | None) -> Figure:
    """The curve of a sweep, over the seeds that all its arms share: means over others would not be of one kind."""
    assert question.factor is not None
    drawn = with_shared_seeds(question, material.runs)
    seeds = frozenset(run.result.seed for runs in drawn.values() for run in runs)
    fewer = _fewer_seeds(material, question)
    arms = [_dots(material, question, arm, look[arm], seeds or None) for arm in drawn]
    svg = figures.sweep_curve(arms, question.factor, CONTROL, best)
    chosen = f" Validation chose {best}, ringed." if best else ""
    alt = f"Test accuracy over {question.factor}. {_means(arms)}{chosen}"
    caption = f"Test accuracy over {question.factor}: seeds, mean, 95 % interval"
    caption += f"; of the {count(fewer, 'seed')} that all have" if fewer else ""
    caption += "; ringed: chosen on validation" if best else ""
    return Figure(f"{question.id}-sweep", svg, alt, caption)


def _means(dots: Sequence[Dots]) -> str:
    said = []
    for one in dots:
        ends = f" ({interval(one.ci95, lambda end: percent(end / 100))})" if one.ci95 else ""
        lost = f", {one.diverged} diverged" if one.diverged else ""
        said.append(f"{one.arm} {percent(one.mean / 100)} %{ends}{lost}")
    return f"Means with 95 % intervals: {'; '.join(said)}."


_CURVES = {
    "val_accuracy": "validation accuracy",
    "train_loss": "training loss",
    "val_loss": "validation loss",
}
