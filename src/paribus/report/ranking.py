"""A ranking of backbones in words, as a table, and as a page with its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paribus.experiment import CONTROL
from paribus.report.canvas import svg
from paribus.report.figures import looks
from paribus.report.page import Cell, Comment, Figure, Section, Table
from paribus.report.render import html_page
from paribus.wording import NOTHING, count, difference, interval, loss, named, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from paribus.transfer.ranking import Candidate, Ranking

COLUMNS = (
    "#",
    "backbone",
    "input",
    "accuracy (%)",
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
            loss(each.loss),
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
    part = Section(
        id="ranking",
        label=f"{count(ranking.images, 'training image')} in {ranking.num_classes} classes",
        title="Heads on frozen features, cross-validated",
        comment=Comment(tuple(why(ranking)), "", "", ""),
        figures=(figure(ranking),),
        tables=(_table(ranking),),
    )
    return html_page("ranking.html.j2", data=ranking.data, part=part)


def figure(ranking: Ranking) -> Figure:
    """Return accuracy with its interval over milliseconds per image; a line joins those that nothing beats in both."""
    look = looks(["front"], CONTROL)["front"]

    def draw(axes: Axes) -> None:
        for number, each in enumerate(ranking.candidates, 1):
            low, high = (100 * abs(end - each.accuracy) for end in each.ci95)
            place, filled = (each.milliseconds, 100 * each.accuracy), look.colour if each.on_front else "white"
            axes.errorbar(*place, [[low], [high]], fmt="o", color=look.colour, mfc=filled, capsize=2)
            axes.annotate(str(number), place, (5, 4), textcoords="offset points")
        front = sorted((each.milliseconds, 100 * each.accuracy) for each in ranking.candidates if each.on_front)
        axes.plot(*zip(*front, strict=True), color=look.colour, linewidth=1, linestyle="--")
        axes.margins(x=0.25)
        axes.set_xlabel("milliseconds per image")
        axes.set_ylabel("cross-validated accuracy (%)")

    said = [
        f"{each.label} {percent(each.accuracy)} % ({interval(each.ci95, percent)}) at {each.milliseconds:.1f} ms"
        for each in ranking.candidates
    ]
    caption = (
        "Accuracy in cross-validation with its 95 % interval, over the time for one image. Numbers are those of the "
        "table; filled dots, joined by the line, are those that none beats in both"
    )
    alt = f"Accuracy in cross-validation over milliseconds per image, with 95 % intervals: {'; '.join(said)}."
    return Figure("ranking", svg(draw, 7.5, 4), alt, caption, wide=True)


def _table(ranking: Ranking) -> Table:
    head = (
        "Backbone",
        "Accuracy (%)",
        "Against the best (points)",
        "Loss",
        "Time per image (ms)",
        "Parameters",
        "Licence",
    )
    content = tuple(
        (
            Cell(f"{number}. {each.name}", f"at {each.input} pixels"),
            Cell(percent(each.accuracy), interval(each.ci95, percent)),
            Cell(_behind(each)),
            Cell(loss(each.loss)),
            Cell(f"{each.milliseconds:.1f}"),
            Cell(f"{each.parameters / 1e6:.1f} M"),
            Cell(each.licence or "unknown"),
        )
        for number, each in enumerate(ranking.candidates, 1)
    )
    return Table("Every backbone, the best first, with 95 % intervals in small print", head, content, (1, 2, 3, 4, 5))


def _behind(candidate: Candidate) -> str:
    return interval(candidate.behind, lambda end: difference(end, "test_accuracy")) or NOTHING
