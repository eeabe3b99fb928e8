"""The pictures of docs/statistics.md and every number in its text, from the report on LeNet-5 and MNIST in the gallery.

Run as a program, this draws the pictures anew. `tests/test_docs_statistics.py` holds pictures and text to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paribus.power import assumed
from paribus.report.canvas import svg
from paribus.report.figures import Dots, looks, seed_dots
from paribus.stats import LEVEL, paired_by_seed, power_to_find, unseen_share, wilson
from paribus.wording import difference, interval, p_value, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).parent
RESULT = HERE.parent / "gallery" / "lenet-mnist" / "verdicts.json"
IMAGES = 10_000
CONTROL, GREY, BLUE, ORANGE, GREEN = "#222222", "#8a8a8a", "#0072b2", "#d55e00", "#009e73"
WIDTH = 6.4
Floats = npt.NDArray[np.float64]


@cache
def verdicts() -> dict[str, Any]:
    """Return what the report says, for programs."""
    content: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    return content


def comparison(arm: str) -> Mapping[str, Any]:
    """Return the comparison of an arm."""
    (found,) = [each for each in _compared() if each["arm"] == arm]
    return found


@cache
def by_seed(arm: str) -> Floats:
    """Return the test accuracy of every seed of an arm, in percent, as its answer quotes it."""
    quoted = {
        each["run"]: each["value"]
        for question in verdicts()["questions"]
        for sentence in question["comment"]
        for each in sentence["evidence"]
        if each["key"] == "test_accuracy"
    }
    return np.array([100 * quoted[f"{arm}/{seed}"] for seed in verdicts()["seeds"]])


def seeds() -> str:
    """Draw three arms, a dot per seed."""
    arms = ["control", "max", "momentum"]
    look = looks(arms, "control")
    summary = verdicts()["arms"]
    return seed_dots(
        [
            Dots(
                arm,
                look[arm],
                tuple(by_seed(arm)),
                100 * summary[arm]["test_accuracy"]["mean"],
                tuple(100 * end for end in summary[arm]["test_accuracy"]["ci95"]),
            )
            for arm in arms
        ]
    )


def paired() -> str:
    """Draw the difference of one arm and the control, seed by seed, and what ten of them say together."""
    d = by_seed("max") - by_seed("control")

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=CONTROL, lw=1)
        for seed, value in enumerate(d):
            colour = BLUE if value > 0 else ORANGE if value < 0 else GREY
            axes.plot([0, value], [-seed, -seed], "-", color=colour, lw=1.2)
            axes.plot([value], [-seed], "o", color=colour, ms=6)
        low, high = (100 * end for end in comparison("max")["ci95_this_test_set"])
        axes.plot([low, high], [-11, -11], "-", color=CONTROL, lw=3)
        axes.plot([d.mean()], [-11], "D", color=CONTROL, ms=7, mec="white")
        axes.set_yticks([*range(0, -10, -1), -11], [*(f"seed {seed}" for seed in range(10)), "all ten"])
        axes.set_xlabel("max pooling minus average pooling, points of test accuracy")
        axes.tick_params(axis="y", length=0)

    return svg(draw, WIDTH, 3.4)


def intervals() -> str:
    """Draw the two intervals of four differences, one below the other."""
    arms = ["relu", "max", "momentum", "b512-same-steps"]

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=CONTROL, lw=1)
        kinds = (("ci95", "new images", BLUE, 0.14), ("ci95_this_test_set", "these test images", ORANGE, -0.14))
        for row, arm in enumerate(arms):
            for key, label, colour, shift in kinds:
                ends = [100 * end for end in comparison(arm)[key]]
                axes.plot(ends, [shift - row] * 2, "-", color=colour, lw=3, label=label if row == 0 else None)
                axes.plot([100 * comparison(arm)["difference"]], [shift - row], "D", color=colour, ms=6, mec="white")
        axes.set_yticks([-row for row in range(len(arms))], arms)
        axes.set_xlabel("difference from the control, points of test accuracy")
        axes.tick_params(axis="y", length=0)

    return svg(draw, WIDTH, 2.6, legend=True)


def margin() -> str:
    """Draw four differences beside the margin, one for each verdict."""
    arms = ["b512-same-steps", "adam-retuned", "momentum-retuned", "relu"]
    colours = {"better": BLUE, "worse": ORANGE, "equivalent": GREEN, "undecided": GREY}
    width = 100 * verdicts()["margin"]

    def draw(axes: Axes) -> None:
        axes.axvspan(-width, width, color=GREEN, alpha=0.13, lw=0)
        axes.axvline(0, color=CONTROL, lw=1)
        for row, arm in enumerate(arms):
            found = comparison(arm)
            colour = colours[found["verdict"]]
            axes.plot([100 * end for end in found["ci95"]], [-row, -row], "-", color=colour, lw=3)
            axes.plot([100 * found["difference"]], [-row], "D", color=colour, ms=7, mec="white")
        names = [f"{comparison(arm)['verdict']}\n{arm}" for arm in arms]
        axes.set_yticks([-row for row in range(len(arms))], names)
        axes.text(0, 0.62, "the margin", ha="center", va="bottom", color=GREEN, fontsize=8.5)
        axes.set_ylim(-len(arms) + 0.5, 0.6)
        axes.set_xlabel("difference from the control on new images, points of test accuracy")
        axes.tick_params(axis="y", length=0)

    return svg(draw, WIDTH, 2.9)


def holm() -> str:
    """Draw the p values of the experiment in order, and what Holm asks of each."""
    found = sorted(((each["p"], each["arm"]) for each in _compared()), reverse=True)
    asked = [LEVEL / rank for rank in range(1, len(found) + 1)]

    from matplotlib.ticker import FuncFormatter, NullLocator

    def draw(axes: Axes) -> None:
        places = np.arange(len(found))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.step(asked, places, where="mid", color=CONTROL, lw=1.2, label="what Holm asks")
        axes.axvline(LEVEL, color=GREY, ls=(0, (4, 3)), lw=1, label="what one question asks")
        for place, (p, arm) in enumerate(found):
            is_found = comparison(arm)["verdict"] in ("better", "worse")
            axes.plot([p], [place], "o", color=BLUE if is_found else GREY, ms=7, zorder=4)
        axes.set_yticks(places, [arm for _, arm in found])
        axes.set_xlabel("p value on new images; left of the line is better or worse")
        axes.tick_params(axis="y", length=0)

    return svg(draw, WIDTH, 3.4, legend=True)


def power() -> str:
    """Draw the chance to find a true difference over the number of seeds."""
    numbers = np.arange(2, 41)

    def draw(axes: Axes) -> None:
        for points, colour, dash in ((0.3, BLUE, "-"), (0.2, GREEN, "--"), (0.1, ORANGE, "-.")):
            found = [100 * _power(points, int(n)) for n in numbers]
            axes.plot(numbers, found, dash, color=colour, label=f"{points:g} points")
        axes.axhline(80, color=GREY, lw=1, ls=(0, (4, 3)))
        axes.set_ylim(0, 103)
        axes.set_xlabel("seeds")
        axes.set_ylabel("found in so many experiments (%)")

    return svg(draw, WIDTH, 3.0, legend=True)


def _compared() -> list[Mapping[str, Any]]:
    return [each for question in verdicts()["questions"] for each in question["comparisons"]]


def _power(points: float, n: int) -> float:
    """For a single comparison of arms near the control's accuracy, on as many images as MNIST has for the test."""
    accuracy = verdicts()["arms"]["control"]["test_accuracy"]["mean"]
    return power_to_find(points / 100, assumed(accuracy), (n, IMAGES), LEVEL)


def facts() -> dict[str, str]:
    """Return every number that the page's text quotes, as it is written there."""
    control, largest = by_seed("control"), by_seed("max")
    d = largest - control
    compared = comparison("max")
    right = round(control.max() * IMAGES / 100)
    family = verdicts()["comparisons_counted"]
    return {
        "seeds": f"{len(control)} times",
        "lowest": f"{percent(control.min() / 100)} %",
        "highest": f"{percent(control.max() / 100)} %",
        "spread": f"{percent(np.ptp(control) / 100)} points",
        "momentum": f"{difference(comparison('momentum')['difference'], 'test_accuracy')} points",
        "one run": f"{interval(wilson(right, IMAGES), percent)} %",
        "pairs above": f"{int((d > 0).sum())} of {len(d)} seeds",
        "luckiest": f"{difference((largest.max() - control.min()) / 100, 'test_accuracy')} points",
        "unluckiest": f"{difference((largest.min() - control.max()) / 100, 'test_accuracy')} points",
        "mean": f"{difference(d.mean() / 100, 'test_accuracy')} points",
        "these images": _ends(paired_by_seed(largest, control).ci95, 0.01),
        "new images": _ends(compared["ci95"], 1),
        "margin": f"{100 * verdicts()['margin']:g} points",
        "same": _ends(comparison("momentum-retuned")["ci95"], 1),
        "level": f"{LEVEL:g}",
        "by chance": f"{LEVEL:.0%}".replace("%", " %"),
        "unseen": f"that {100 * unseen_share(50):.0f} % of all images",
        "least widths": f"{100 * unseen_share(50):.0f} points to either side on 50 images, "
        f"{100 * unseen_share(300):.1f} on 300, {100 * unseen_share(10_000):.2f} on 10,000",
        "comparisons": f"{family} comparisons",
        "any by chance": f"{1 - (1 - LEVEL) ** family:.0%}".replace("%", " %"),
        "strictest": f"{LEVEL:g} / {family} = {LEVEL / family:.4f}",
        "p alone": f"p is {p_value(comparison('momentum')['p'])}",
        "p adjusted": f"it is {p_value(comparison('momentum')['p_holm'])}",
        "large": f"{_seeds_for(0.3)} seeds",
        "middle": f"{_seeds_for(0.2)} seeds",
        "small": f"{_power(0.1, 40):.0%}".replace("%", " %"),
    }


def _ends(ends: tuple[float, float] | None, scale: float) -> str:
    assert ends is not None
    return interval(ends, lambda end: difference(scale * end, "test_accuracy"))


def _seeds_for(points: float) -> int:
    """The fewest seeds that find a difference in four of five experiments."""
    return next(n for n in range(2, 1000) if _power(points, n) >= 0.8)


PICTURES: dict[str, Callable[[], str]] = {
    "seeds": seeds,
    "paired": paired,
    "intervals": intervals,
    "margin": margin,
    "holm": holm,
    "power": power,
}


if __name__ == "__main__":
    for name, draw_picture in PICTURES.items():
        (HERE / f"{name}.svg").write_text(draw_picture() + "\n", encoding="utf-8")
    for key, text in facts().items():
        print(f"{key}: {text}")  # noqa: T201
