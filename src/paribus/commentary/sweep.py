"""What a sweep shows: the best value on val, the good range around it, what is too small and what too large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from paribus.checks import of_question
from paribus.commentary.material import Material
from paribus.commentary.sentence import Evidence, Sentence, item
from paribus.config import EPOCHS
from paribus.experiment import CONTROL
from paribus.tuning import good_range as within_margin
from paribus.wording import count, level, listed, margin, noun, plain, setting

Row = Mapping[str, Any]
_RATES = ("optim.lr", "optim.weight_decay")  # Their ranges are told in decades.


def best_value(material: Material) -> list[Sentence]:
    """Return which value is best on validation, and whether there is anything to compare."""
    sweep = material.entry["sweep"]
    if sweep is None:
        return []
    if sweep["best"] is None:
        return [Sentence(sweep["reason"], [], "answer")]
    factor, rows = sweep["factor"], _rows(material)
    best = _best(material)
    evidence = [item(row["arm"], factor, row["value"]) for row in rows]
    evidence.append(item(best["arm"], "sweep.val_accuracy", best["val_accuracy"]))
    accuracy = level(best["val_accuracy"], "test_accuracy")
    by_loss = material.question.metric == "test_loss"
    found = "has the lowest validation loss" if by_loss else "is best on validation"
    text = f"Of {count(len(rows), 'value')} of `{factor}`, {_quoted(best['value'])} {found}"
    own = ", and it is the control's own, so there is nothing to compare it with" if best["arm"] == CONTROL else ""
    return [Sentence(f"{text} (accuracy {accuracy}){own}.", evidence, "answer")]


def good_range(material: Material) -> list[Sentence]:
    """Return the range of numbers within the margin of the best on val, what falls short of it below and above, and
    whether it ends where the values end.
    """
    sweep = material.entry["sweep"]
    if sweep is None or sweep["best"] is None or material.question.metric != "test_accuracy":
        return []
    rows = _rows(material)
    if not all(type(row["value"]) in (int, float) for row in rows) or len(rows) < 2:
        return []
    ordered = sorted(rows, key=lambda row: float(row["value"]))
    accuracies, chosen = [row["val_accuracy"] for row in ordered], ordered.index(_best(material))
    first, last = within_margin(accuracies, chosen, material.question.margin)
    sentences = [_range(material, ordered[first], ordered[last])]
    bar = _best(material)["val_accuracy"] - material.question.margin
    outside = [
        (word, [row for row in side if row["val_accuracy"] < bar])
        for word, side in (("smaller", ordered[:first]), ("larger", ordered[last + 1 :]))
    ]
    said = [f"of the {word} values {_values(values)}" for word, values in outside if values]
    if said:
        evidence = [each for _, values in outside for row in values for each in _figures(row, sweep["factor"])]
        in_time = "" if sweep["factor"] == EPOCHS else " in as many epochs,"
        text = f"Short of that,{in_time} {'; '.join(said)}."
        sentences.append(Sentence(text, evidence))
    beyond = [word for word, place in (("smaller", first), ("larger", len(ordered) - 1 - last)) if place == 0]
    if len(beyond) == 1:
        sentences.append(Sentence(f"No {beyond[0]} value was tried than those of this range.", []))
    return sentences


def at_the_edge(material: Material) -> list[Sentence]:
    """Return that the best value is the first or the last that was tried, where it is."""
    if not material.fired("P008", [of_question(material.question)]):
        return []
    factor = material.entry["sweep"]["factor"]
    return [Sentence(f"The best value lies at the edge of what was tried for `{factor}`.", [], "limits")]


def _rows(material: Material) -> list[Row]:
    return [row for row in material.entry["sweep"]["values"] if row["val_accuracy"] is not None]


def _best(material: Material) -> Row:
    return next(row for row in _rows(material) if row["arm"] == material.entry["sweep"]["best"])


def _range(material: Material, low: Row, high: Row) -> Sentence:
    factor, question = material.entry["sweep"]["factor"], material.question
    smallest = f"the margin of {margin(question.margin, question.metric)}"
    evidence = [item(CONTROL, "question.margin", question.margin)]
    if low is high:
        return Sentence(f"No neighbouring value comes within {smallest} of it on validation.", evidence)
    evidence += [item(row["arm"], factor, row["value"]) for row in (low, high)]
    text = f"From {setting(low['value'])} to {setting(high['value'])}"
    if factor in _RATES and low["value"] > 0:
        decades = math.log10(high["value"] / low["value"])
        evidence.append(item(high["arm"], f"decades_from={low['value']!r}", decades))
        shown = round(decades, 1)
        text += f", {plain(shown)} {noun(shown, 'decade')},"
    return Sentence(f"{text} validation accuracy stays within {smallest} of the best.", evidence)


def _values(rows: Sequence[Row]) -> str:
    """Values with what they reach: ``"0.001 (45.30 %) and 0.01 (89.70 %)"``."""
    return listed([f"{setting(row['value'])} ({level(row['val_accuracy'], 'test_accuracy')})" for row in rows])


def _figures(row: Row, factor: str) -> list[Evidence]:
    return [
        item(row["arm"], factor, row["value"]),
        item(row["arm"], "sweep.val_accuracy", row["val_accuracy"]),
    ]


def _quoted(value: Any) -> str:
    """A factor's value in a sentence: a number as it is, a word as code."""
    return setting(value) if type(value) in (int, float) else f"`{setting(value)}`"
