"""A ranking of backbones in words, as a table, and as a page with its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paribus.report.canvas import svg
from paribus.report.render import html_page
from paribus.wording import count, difference, interval, named, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from paribus.transfer.ranking import Candidate, Ranking

COLUMNS = (
    "#",
    "backbone",
    "input",
    "acc. %",
    "95 % interval",
    "against best",
    "loss",
    "ms/image",
    "weights",
    "licence",
)


def rows(ranking: Ranking) -> list[tuple[str, ...]]:
    """Return one row of texts per candidate, the best first, as `COLUMNS` has them."""
    return [
        (
            str(number),
            each.name,
            str(each.input),
            percent(each.accuracy),
            interval(each.ci95, percent),
            _behind(each),
            f"{each.loss:.3f}",
            f"{each.milliseconds:.1f}",
            f"{each.parameters / 1e6:.1f} M",
            each.licence or "unknown",
        )
        for number, each in enumerate(ranking.candidates, 1)
    ]


def why(ranking: Ranking) -> list[str]:
    """Return in sentences which backbone to take, and why."""
    best, choice = ranking.candidates[0], ranking.choice
    on = f"{count(ranking.images, 'training image')} in {ranking.num_classes} classes"
    said = [
        f"A head on `{best.label}` is right most often: {percent(best.accuracy)} % (95 % interval "
        f"{interval(best.ci95, percent)}) in cross-validation on {on}."
    ]
    rivals = [each for each in ranking.candidates[1:] if each.is_as_good]
    if rivals:
        said.append(f"These images cannot tell {named([each.label for each in rivals])} from it.")
    if choice is best:
        also = f"It is also the fastest of these, {choice.milliseconds:.1f} ms per image: take it."
        said.append(also if rivals else "Take it.")
    else:
        said.append(
            f"Of these `{choice.label}` is the fastest, {choice.milliseconds:.1f} ms per image against "
            f"{best.milliseconds:.1f}: take it where time counts, else the first."
        )
    worse = [each for each in ranking.candidates if not each.is_as_good]
    if worse:
        said.append(f"Worse beyond chance: {named([each.label for each in worse])}.")
    return said


def to_html(ranking: Ranking) -> str:
    """Return the ranking as one HTML page that needs no other file."""
    content = {"columns": COLUMNS, "rows": rows(ranking), "why": why(ranking), "figure": figure(ranking)}
    return html_page("ranking.html.j2", ranking=ranking, **content)


def figure(ranking: Ranking) -> str:
    """Return accuracy with its interval over milliseconds per image as SVG; a line joins those that nothing beats.

    Numbers are those of the table.
    """

    def draw(axes: Axes) -> None:
        for number, each in enumerate(ranking.candidates, 1):
            low, high = (100 * abs(end - each.accuracy) for end in each.ci95)
            colour = "#0072b2" if each.on_front else "#999999"
            axes.errorbar(each.milliseconds, 100 * each.accuracy, [[low], [high]], fmt="o", color=colour, capsize=2)
            place = (each.milliseconds, 100 * each.accuracy)
            axes.annotate(str(number), place, (5, 4), textcoords="offset points")
        front = sorted((each.milliseconds, 100 * each.accuracy) for each in ranking.candidates if each.on_front)
        axes.plot(*zip(*front, strict=True), color="#0072b2", linewidth=1, linestyle="--")
        axes.margins(x=0.25)
        axes.set_xlabel("milliseconds per image")
        axes.set_ylabel("cross-validated accuracy (%)")

    return svg(draw, 7.5, 4)


def _behind(candidate: Candidate) -> str:
    return interval(candidate.behind, lambda end: difference(end, "test_accuracy")) if candidate.behind else "–"
