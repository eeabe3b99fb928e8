"""The table of verdicts: one row per comparison in words, its interval laid out on a strip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from paribus.experiment import CONTROL
from paribus.report.page import Cell
from paribus.report.questions import difference_texts, verdict_cell
from paribus.web.schema import ArmDesign, Comparison, ExperimentAnswer, QuestionAnswer
from paribus.wording import NOTHING, count, interval, listed, p_value, percent, unit

STRIP_WIDTH = 150
_FACTORS_SHOWN = 3


@dataclass(frozen=True)
class Strip:
    """Where a difference and its interval lie on a strip `STRIP_WIDTH` wide whose middle is no difference."""

    margin: tuple[float, float]
    interval: tuple[float, float]
    point: float


@dataclass(frozen=True)
class VerdictRow:
    """One comparison in words; `is_first` says that the row above has another question."""

    question: QuestionAnswer
    is_first: bool
    arm: str
    control: str
    small: str
    accuracy: Cell
    difference: Cell
    strip: Strip | None
    p: str
    verdict: Cell


def verdict_rows(about: ExperimentAnswer) -> Iterator[VerdictRow]:
    """Yield one row per comparison, and one for a question that has none."""
    arms = {arm.arm: arm for arm in about.arms}
    for question in about.questions:
        for place, comparison in enumerate(question.comparisons):
            yield _verdict_row(question, comparison, arms[comparison.arm], is_first=place == 0)
        if not question.comparisons:
            yield _open_row(question)


def _verdict_row(question: QuestionAnswer, comparison: Comparison, arm: ArmDesign, *, is_first: bool) -> VerdictRow:
    told = comparison.model_dump()
    found, within = difference_texts(told, "ci95")
    small = [f"{key} = {value}" for key, value in islice(arm.factors.items(), _FACTORS_SHOWN)]
    more = len(arm.factors) - _FACTORS_SHOWN
    small += [f"and {count(more, 'more key')}"] if more > 0 else []
    small += [f"against {comparison.control}"] if comparison.control != CONTROL else []
    small += ["best on validation"] if question.best == arm.arm else []
    return VerdictRow(
        question=question,
        is_first=is_first,
        arm=arm.arm,
        control=comparison.control,
        small="; ".join(small),
        accuracy=_accuracy(arm),
        difference=Cell(found, f"{within} {unit(comparison.metric)}" if within else ""),
        strip=_strip(comparison, question.comparisons),
        p=p_value(comparison.p_holm),
        verdict=verdict_cell(told),
    )


def _open_row(question: QuestionAnswer) -> VerdictRow:
    nothing, arms = Cell(NOTHING), listed(question.arms)
    if question.best is None:
        verdict, small, arm = Cell("no verdict yet"), "", arms
    else:
        verdict, small, arm = Cell("no change", "the control is the best value"), "best on validation", question.best
    return VerdictRow(question, True, arm, CONTROL, small, nothing, nothing, None, NOTHING, verdict)


def _accuracy(arm: ArmDesign) -> Cell:
    if arm.test_accuracy is None:
        return Cell(NOTHING)
    ends = arm.test_accuracy.ci95
    return Cell(f"{percent(arm.test_accuracy.mean)} %", "" if ends is None else f"{interval(ends, percent)} %")


def _strip(comparison: Comparison, beside: Sequence[Comparison]) -> Strip | None:
    """Lay a comparison out on the scale of its question, which shows every interval and the margin whole."""
    if comparison.difference is None or comparison.ci95 is None:
        return None
    ends = [abs(end) for each in beside if each.ci95 for end in (*each.ci95, each.margin)]
    half, middle = 1.08 * max(ends), STRIP_WIDTH / 2

    def place(value: float) -> float:
        return round(middle + middle * value / half, 1)

    low, high = comparison.ci95
    return Strip(
        margin=(place(-comparison.margin), place(comparison.margin)),
        interval=(place(low), place(high)),
        point=place(comparison.difference),
    )
