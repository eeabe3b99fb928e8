"""What was found before the runs: which rate from which grid, what it changes in the answer, epochs in equal seconds.

The evidence quotes `tuning/<arm>.json` as ``"tuning.KEY"`` of the arm.
"""

from __future__ import annotations

from collections.abc import Mapping

from paribus.commentary.material import Material
from paribus.commentary.sentence import Evidence, Sentence, item
from paribus.config import EPOCHS, RATE
from paribus.experiment import CONTROL, CONTROL_RETUNED
from paribus.store import EpochsChoice, RateChoice
from paribus.wording import count, difference, duration, listed, setting, unit


def contrasts(material: Material) -> list[Sentence]:
    """Return the same change at the shared rate and at rates of their own, where both were compared."""
    return [sentence for name in _rates(material) if (sentence := _contrast(material, name)) is not None]


def found_values(material: Material) -> list[Sentence]:
    """Return which rates were chosen and from what, and how many epochs fit in equal seconds."""
    rates = _rates(material)
    epochs = {name: material.tunings[name].epochs for name in material.question.arms if name in material.tunings}
    chosen = [_chosen(rates)] if rates else []
    return chosen + [_epochs(name, choice) for name, choice in epochs.items() if choice is not None]


def _rates(material: Material) -> dict[str, RateChoice]:
    """The rates that were found for arms of the question, and with them the control's."""
    own = {name: material.tunings[name].rate for name in material.question.arms if name in material.tunings}
    rates = {name: rate for name, rate in own.items() if rate is not None}
    control = material.tunings.get(CONTROL_RETUNED)
    if rates and control is not None and control.rate is not None:
        rates[CONTROL_RETUNED] = control.rate
    return rates


def _chosen(rates: Mapping[str, RateChoice]) -> Sentence:
    evidence: list[Evidence] = []
    parts = []
    for name, rate in rates.items():
        evidence.append(item(name, "tuning.rate.lr", rate.lr))
        evidence += [item(name, f"tuning.rate.tried.{i}.lr", each.lr) for i, each in enumerate(rate.tried)]
        evidence += [item(name, f"tuning.rate.seeds.{i}", seed) for i, seed in enumerate(rate.seeds)]
        whose = "the control" if name == CONTROL_RETUNED else f"`{name}`"
        tried = f"{count(len(rate.tried), 'rate')} between {setting(rate.tried[0].lr)} and {setting(rate.tried[-1].lr)}"
        edge = " (the edge of what was tried)" if rate.at_edge else ""
        parts.append(f"{setting(rate.lr)}{edge} for {whose} out of {tried}")
    seeds = max(len(rate.seeds) for rate in rates.values())
    by = f"Validation chose the learning rates with {count(seeds, 'seed')} that nothing else uses"
    return Sentence(f"{by}: {listed(parts)}.", evidence)


def _contrast(material: Material, name: str) -> Sentence | None:
    compared = {each["arm"]: each for each in material.measured}
    arms = material.experiment.arms
    fixed = {key: value for key, value in arms[name].factors.items() if key != RATE} if name in compared else {}
    shared = next((other for other in compared if dict(arms[other].factors) == fixed), None)
    if shared is None:
        return None
    lr = material.experiment.control.optim.lr
    evidence = [item(CONTROL, RATE, lr)]
    said = []
    for each in (compared[shared], compared[name]):
        evidence.append(item(each["arm"], "comparison.difference", each["difference"]))
        found = f"{difference(each['difference'], each['metric'])} {unit(each['metric'])}"
        said.append(f"{found} ({each['verdict']})")
    text = f"At the shared rate of {setting(lr)} the difference of `{shared}` is {said[0]}; each at its own best rate, "
    return Sentence(f"{text}it is {said[1]}.", evidence, "answer")


def _epochs(name: str, choice: EpochsChoice) -> Sentence:
    keys = ("epochs", "control_epochs", "seconds_per_epoch", "control_seconds_per_epoch")
    evidence = [item(name, f"tuning.{EPOCHS.partition('.')[2]}.{key}", getattr(choice, key)) for key in keys]
    own, control = duration(choice.seconds_per_epoch), duration(choice.control_seconds_per_epoch)
    if choice.control_epochs * choice.ratio < 1:
        text = f"Not one epoch of `{name}` fits in the time of the control's {choice.control_epochs}, so "
        text += f"it is given {count(choice.epochs, 'epoch')} and more time than the control"
    else:
        fit = "fits" if choice.epochs == 1 else "fit"
        text = f"{count(choice.epochs, 'epoch')} of `{name}` {fit} in the time of the control's {choice.control_epochs}"
    return Sentence(f"{text}: timed in turn, one epoch took {own} against {control}.", evidence)
