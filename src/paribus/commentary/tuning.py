"""What was found before the runs changes in the answer, and epochs in equal seconds; `rates` tells of the search.

The evidence quotes `tuning/<arm>.json` as ``"tuning.KEY"`` of the arm.
"""

from __future__ import annotations

from paribus.commentary.material import Material
from paribus.commentary.sentence import Sentence, item
from paribus.config import EPOCHS, RATE
from paribus.experiment import CONTROL, CONTROL_RETUNED
from paribus.store import EpochsChoice, RateChoice
from paribus.wording import count, difference, duration, setting, unit


def contrasts(material: Material) -> list[Sentence]:
    """Return the same change at the shared rate and at rates of their own, where both were compared."""
    return [sentence for name in found_rates(material) if (sentence := _contrast(material, name)) is not None]


def found_values(material: Material) -> list[Sentence]:
    """Return how many epochs fit in equal seconds."""
    epochs = {name: material.tunings[name].epochs for name in material.question.arms if name in material.tunings}
    return [_epochs(name, choice) for name, choice in epochs.items() if choice is not None]


def found_rates(material: Material) -> dict[str, RateChoice]:
    """Return the rates that were found for arms of the question, and with them the control's."""
    own = {name: material.tunings[name].rate for name in material.question.arms if name in material.tunings}
    rates = {name: rate for name, rate in own.items() if rate is not None}
    control = material.tunings.get(CONTROL_RETUNED)
    if rates and control is not None and control.rate is not None:
        rates[CONTROL_RETUNED] = control.rate
    return rates


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
