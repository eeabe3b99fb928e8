"""Sentences about what was found before the runs: which rate from which grid, and what it changes in the answer.

Their evidence quotes `tuning/<arm>.json` as ``"tuning.KEY"`` of the arm; otherwise it is as in `paribus.commentary`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paribus.commentary import Evidence, Sentence
from paribus.config import EPOCHS, RATE
from paribus.experiment import CONTROL, CONTROL_RETUNED, Experiment, Question
from paribus.store import EpochsChoice, RateChoice, Tuning
from paribus.wording import count, difference, duration, listed, setting, unit


def tuning_sentences(
    question: Question, entry: Mapping[str, Any], experiment: Experiment, tunings: Mapping[str, Tuning]
) -> list[Sentence]:
    """Return what a question's answer owes to values found before the runs; nothing where none were.

    Args:
        question: What was asked.
        entry: Its entry of `verdicts.json`, without the comment.
        experiment: The design.
        tunings: What was found, by arm.
    """
    own = {name: tunings[name] for name in question.arms if name in tunings}
    rates = {name: each.rate for name, each in own.items() if each.rate is not None}
    control = tunings.get(CONTROL_RETUNED)
    if rates and control is not None and control.rate is not None:
        rates[CONTROL_RETUNED] = control.rate
    sentences = [_chosen(rates)] if rates else []
    sentences += [sentence for name in rates if (sentence := _contrast(name, entry, experiment)) is not None]
    return sentences + [_epochs(name, each.epochs) for name, each in own.items() if each.epochs is not None]


def _chosen(rates: Mapping[str, RateChoice]) -> Sentence:
    evidence: list[Evidence] = []
    parts = []
    for name, rate in rates.items():
        evidence.append(_item(name, "tuning.rate.lr", rate.lr))
        evidence += [_item(name, f"tuning.rate.tried.{i}.lr", each.lr) for i, each in enumerate(rate.tried)]
        evidence += [_item(name, f"tuning.rate.seeds.{i}", seed) for i, seed in enumerate(rate.seeds)]
        whose = "the control" if name == CONTROL_RETUNED else f"`{name}`"
        tried = f"{count(len(rate.tried), 'rate')} between {setting(rate.tried[0].lr)} and {setting(rate.tried[-1].lr)}"
        edge = " (the edge of what was tried)" if rate.at_edge else ""
        parts.append(f"{setting(rate.lr)}{edge} for {whose} out of {tried}")
    seeds = max(len(rate.seeds) for rate in rates.values())
    by = f"Validation chose the learning rates with {count(seeds, 'seed')} that nothing else uses"
    return Sentence(f"{by}: {listed(parts)}.", evidence)


def _contrast(name: str, entry: Mapping[str, Any], experiment: Experiment) -> Sentence | None:
    """The same change at the shared rate and at rates of their own, where both were compared."""
    compared = {each["arm"]: each for each in entry["comparisons"] if _has_verdict(each)}
    fixed = {key: value for key, value in experiment.arms[name].factors.items() if key != RATE}
    shared = next((other for other in compared if dict(experiment.arms[other].factors) == fixed), None)
    if name not in compared or shared is None:
        return None
    lr = experiment.control.optim.lr
    evidence = [_item(CONTROL, RATE, lr)]
    said = []
    for each in (compared[shared], compared[name]):
        evidence.append(_item(each["arm"], "comparison.difference", each["difference"]))
        found = f"{difference(each['difference'], each['metric'])} {unit(each['metric'])}"
        said.append(f"{found} ({each['verdict']})")
    text = f"At the shared rate of {setting(lr)} the difference of `{shared}` is {said[0]}; each at its own best rate, "
    return Sentence(f"{text}it is {said[1]}.", evidence)


def _has_verdict(comparison: Mapping[str, Any]) -> bool:
    return comparison["difference"] is not None and comparison["verdict"] != "invalid"


def _epochs(name: str, choice: EpochsChoice) -> Sentence:
    keys = ("epochs", "control_epochs", "seconds_per_epoch", "control_seconds_per_epoch")
    evidence = [_item(name, f"tuning.{EPOCHS.partition('.')[2]}.{key}", getattr(choice, key)) for key in keys]
    own, control = duration(choice.seconds_per_epoch), duration(choice.control_seconds_per_epoch)
    if choice.control_epochs * choice.ratio < 1:
        text = f"Not one epoch of `{name}` fits in the time of the control's {choice.control_epochs}, so "
        text += f"it is given {count(choice.epochs, 'epoch')} and more time than the control"
    else:
        fit = "fits" if choice.epochs == 1 else "fit"
        text = f"{count(choice.epochs, 'epoch')} of `{name}` {fit} in the time of the control's {choice.control_epochs}"
    return Sentence(f"{text}: timed in turn, one epoch took {own} against {control}.", evidence)


def _item(run: str, key: str, value: Any) -> Evidence:
    return {"run": run, "key": key, "value": value}
