"""What was found before the runs, as tables of a question's section: every rate that was tried, and timed epochs."""

from __future__ import annotations

from collections.abc import Mapping

from paribus.experiment import CONTROL, CONTROL_RETUNED, Question
from paribus.report.material import Material
from paribus.report.page import Cell, Table
from paribus.store import EpochsChoice, RateChoice, TriedRate
from paribus.wording import NOTHING, count, duration, listed, percent, setting


def tuning_tables(material: Material, question: Question) -> tuple[Table, ...]:
    """Return the tables of what was found for the arms of a question; none where nothing was."""
    tunings = material.results.tunings
    own = [tunings[name] for name in question.arms if name in tunings]
    rates = {each.arm: each.rate for each in own if each.rate is not None}
    control = tunings.get(CONTROL_RETUNED)
    if rates and control is not None and control.rate is not None:
        rates = {CONTROL_RETUNED: control.rate, **rates}
    epochs = {each.arm: each.epochs for each in own if each.epochs is not None}
    return (*([_rates(material, question, rates)] if rates else []), *([_epochs(question, epochs)] if epochs else []))


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
