"""What was found before the runs, in a question's section: every rate that was tried, range tests, timed epochs."""

from __future__ import annotations

from collections.abc import Mapping

from paribus.arms import val_figures
from paribus.config import RATE
from paribus.experiment import CONTROL, CONTROL_RETUNED, Question
from paribus.report import figures
from paribus.report.figures import Look, RateSearch
from paribus.report.material import Material
from paribus.report.page import Cell, Figure, Table
from paribus.store import EpochsChoice, RangeTest, RateChoice, TriedRate
from paribus.wording import NOTHING, count, duration, listed, percent, setting


def tuning_tables(material: Material, question: Question) -> tuple[Table, ...]:
    """Return the tables of what was found for the arms of a question; none where nothing was."""
    tunings, rates = material.results.tunings, _found(material, question)
    own = [tunings[name] for name in question.arms if name in tunings]
    epochs = {each.arm: each.epochs for each in own if each.epochs is not None}
    return (*([_rates(material, question, rates)] if rates else []), *([_epochs(question, epochs)] if epochs else []))


def rate_figures(material: Material, question: Question, look: Mapping[str, Look]) -> tuple[Figure, ...]:
    """Return the figure of what was looked for in learning rates; none where the question is about no rates.

    Args:
        material: What the report is made from.
        question: Whose arms are drawn, the control first.
        look: Of each arm of the question, and of the control.
    """
    tests = material.results.ranges()
    searches = [
        _search(arm if arm in look else CONTROL, look, tests.get(CONTROL if arm == CONTROL_RETUNED else arm), rate)
        for arm, rate in _found(material, question).items()
    ]
    if question.factor == RATE:
        searches.append(_swept(material, question, look[CONTROL], tests.get(CONTROL)))
    if not any(each.losses or each.tried for each in searches):
        return ()
    parts = ["training loss of the range test by rate, smoothed"] if any(each.losses for each in searches) else []
    parts += ["validation accuracy of the rates tried: mean, band and dots of the seeds"]
    caption = f"{'; below: '.join(parts)}; ringed: chosen"
    caption = f"{caption[0].upper()}{caption[1:]}"
    chosen = [f"{each.arm} {setting(each.chosen)}" for each in searches if each.chosen is not None]
    alt = f"{caption}. {f'Validation chose {listed(chosen)}.' if chosen else 'Nothing was chosen.'}"
    return (Figure(f"{question.id}-rates", figures.rate_search(searches), alt, caption),)


def _found(material: Material, question: Question) -> dict[str, RateChoice]:
    """The rates that were found for arms of a question, the control's before them."""
    tunings = material.results.tunings
    own = {name: tunings[name].rate for name in question.arms if name in tunings}
    rates = {name: rate for name, rate in own.items() if rate is not None}
    control = tunings.get(CONTROL_RETUNED)
    if rates and control is not None and control.rate is not None:
        rates = {CONTROL_RETUNED: control.rate, **rates}
    return rates


def _search(name: str, look: Mapping[str, Look], test: RangeTest | None, rate: RateChoice) -> RateSearch:
    """One arm's search; records of old have no accuracies of single seeds, and are drawn by their means."""
    tried = tuple(
        (each.lr, tuple(100 * value for value in each.val_accuracies or (each.val_accuracy,))) for each in rate.tried
    )
    return RateSearch(name, look[name], *_tested(test), tried, rate.lr)


def _swept(material: Material, question: Question, look: Look, test: RangeTest | None) -> RateSearch:
    """The control's search by the arms of a sweep."""
    tried = []
    for arm in question.arms:
        values = tuple(100 * accuracy for accuracy, _ in val_figures(material.runs[arm]))
        if values:
            tried.append((material.experiment.arms[arm].recipe.optim.lr, values))
    best = material.question(question.id)["sweep"]["best"]
    chosen = None if best is None else material.experiment.arms[best].recipe.optim.lr
    return RateSearch(CONTROL, look, *_tested(test), tuple(sorted(tried)), chosen)


def _tested(test: RangeTest | None) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    return ((), (), False) if test is None else (test.rates, test.smoothed, test.diverges_at is not None)


def _rates(material: Material, question: Question, rates: Mapping[str, RateChoice]) -> Table:
    """One row per rate, one column per arm; the chosen one and diverged runs in small print."""
    tried = {arm: {each.lr: each for each in rate.tried} for arm, rate in rates.items()}
    every = sorted({lr for each in tried.values() for lr in each})
    rows = [(Cell(setting(lr)), *(_tried(tried[arm].get(lr), rate) for arm, rate in rates.items())) for lr in every]
    seeds = listed([str(seed) for seed in next(iter(rates.values())).seeds])
    extended = [arm for arm, rate in rates.items() if len(rate.tried) > len(rate.grid)]
    caption = f"Learning rates tried for “{question.id}”: mean validation accuracy (%) over the tuning seeds {seeds}"
    if extended:
        caption += f"; extended, because the best was at an edge: {listed(extended)}"
    names = [arm if arm in material.experiment.arms else CONTROL for arm in rates]
    return Table(caption, ("Learning rate", *names), tuple(rows), tuple(range(1, len(rates) + 1)))


def _tried(tried: TriedRate | None, choice: RateChoice) -> Cell:
    if tried is None:
        return Cell(NOTHING)
    chosen = ("chosen, at the edge" if choice.at_edge else "chosen") if tried.lr == choice.lr else ""
    diverged = f"{count(tried.diverged, 'run')} diverged" if tried.diverged else ""
    return Cell(percent(tried.val_accuracy), ", ".join(part for part in (chosen, diverged) if part))


def _epochs(question: Question, epochs: Mapping[str, EpochsChoice]) -> Table:
    rows = [
        (
            Cell(arm),
            Cell(duration(choice.seconds_per_epoch)),
            Cell(duration(choice.control_seconds_per_epoch)),
            Cell(str(choice.control_epochs)),
            Cell(str(choice.epochs), "not even one fits" if choice.control_epochs * choice.ratio < 1 else ""),
        )
        for arm, choice in epochs.items()
    ]
    head = ("Arm", "An epoch takes", "One of the control", "Epochs of the control", "Epochs in the same time")
    caption = f"Equal seconds in “{question.id}”: epochs of arm and control, timed in turn before the runs"
    return Table(caption, head, tuple(rows), (1, 2, 3, 4))
