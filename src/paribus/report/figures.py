"""The figures of a report, as SVG text: curves, seeds, sweeps, confusion, classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from paribus.report.canvas import HEIGHT, WIDTH, Floats, scale_accuracy, scale_loss, svg, svg_stacked

if TYPE_CHECKING:
    from matplotlib.axes import Axes


CLASSES_WRITTEN = 15  # A confusion matrix of up to that many classes has room for numbers.


@dataclass(frozen=True)
class Look:
    """How one arm is drawn wherever it appears in a question."""

    colour: str
    dash: str
    marker: str


@dataclass(frozen=True)
class Series:
    """One arm's curve: for each run, its value after every epoch, NaN where the loss was not finite.

    `diverged` says of each run whether it ended so.
    """

    arm: str
    look: Look
    runs: tuple[Floats, ...]
    diverged: tuple[bool, ...]


@dataclass(frozen=True)
class Dots:
    """One arm's values over seeds in percent, their mean and its 95 % interval where there is one.

    `value` is the factor's value in a sweep.
    """

    arm: str
    look: Look
    values: tuple[float, ...]
    mean: float
    ci95: tuple[float, float] | None
    diverged: int = 0
    value: str | float = ""


@dataclass(frozen=True)
class RateSearch:
    """What was looked for in one arm's learning rate.

    `tested` are the rates of the range test and `losses` its smoothed losses in nats, empty without one, and `is_lost`
    says that it ended by diverging. `tried` are the rates that val could choose from, each with the val accuracies of
    its seeds in percent, and `chosen` is the one that it chose.
    """

    arm: str
    look: Look
    tested: tuple[float, ...]
    losses: tuple[float, ...]
    is_lost: bool
    tried: tuple[tuple[float, tuple[float, ...]], ...]
    chosen: float | None


def looks(arms: Sequence[str], control: str, *, is_ordered: bool = False) -> dict[str, Look]:
    """Give every arm of a question its colour, dash and marker; the control is always black.

    Ordered arms, those of a sweep over numbers, run from dark to light. Others take the palette of Okabe and Ito
    (2008), which readers with colour blindness can tell apart; past its end the dash changes too.
    """
    others = [arm for arm in arms if arm != control]
    found = {control: Look(_CONTROL, "-", "o")}
    for index, arm in enumerate(others):
        colour = _PALETTE[index % len(_PALETTE)]
        if is_ordered:
            colour = _shade(index / max(1, len(others) - 1))
        dash = "-" if is_ordered else _DASHES[index // len(_PALETTE) % len(_DASHES)]
        found[arm] = Look(colour, dash, _MARKERS[index % len(_MARKERS)])
    return found


def learning_curves(series: Sequence[Series], label: str, scale: Literal["loss", "accuracy"]) -> str:
    """Draw one figure of learning curves, by epoch.

    Where all runs of an arm have a value, the line is their mean and the band reaches from the lowest to the highest;
    past that, each run that goes on is a thin line. A cross marks where a run diverged.

    Args:
        series: The arms, in the order of the legend; accuracies in percent.
        label: Of the vertical axis.
        scale: Whether the values are losses or accuracies.
    """
    from matplotlib.ticker import FixedLocator, MaxNLocator

    def draw(axes: Axes) -> None:
        for one in series:
            _draw_series(axes, one)
        values = np.concatenate([run for one in series for run in one.runs] or [np.zeros(0)])
        if scale == "loss":
            scale_loss(axes, values)
        else:
            scale_accuracy(axes, values, "y")
        axes.set_ylabel(label)
        axes.set_xlabel("epoch")
        longest = max((len(run) for one in series for run in one.runs), default=0)
        axes.xaxis.set_major_locator(
            MaxNLocator(integer=True, steps=[1, 2, 5, 10]) if longest > 1 else FixedLocator([1])
        )

    return svg(draw, WIDTH, HEIGHT, legend=True)


def _draw_series(axes: Axes, series: Series) -> None:
    if not series.runs:
        return
    look = series.look
    common = min(_finite_length(run) for run in series.runs)
    epochs = np.arange(1, common + 1)
    stacked = np.stack([run[:common] for run in series.runs])
    marker = look.marker if common == 1 else ""
    (line,) = axes.plot(epochs, stacked.mean(axis=0), look.dash, color=look.colour, marker=marker, label=series.arm)
    # Arms that differ only in their epochs begin alike: the shorter lies on top, so that both can be seen.
    line.set_zorder(3 + 1 / max(common, 1) + (0.001 if look.colour == _CONTROL else 0))
    if len(series.runs) > 1:
        axes.fill_between(epochs, stacked.min(axis=0), stacked.max(axis=0), color=look.colour, alpha=0.16, linewidth=0)
    for run, diverged in zip(series.runs, series.diverged, strict=True):
        end = _finite_length(run)
        if end > common:
            start = max(common - 1, 0)
            axes.plot(np.arange(start + 1, end + 1), run[start:end], look.dash, color=look.colour, lw=0.7, alpha=0.6)
        if diverged and end:
            axes.plot([end], [run[end - 1]], "x", color=look.colour, markersize=7, zorder=5)


def _finite_length(run: Floats) -> int:
    bad = np.flatnonzero(~np.isfinite(run))
    return int(bad[0]) if len(bad) else len(run)


def seed_dots(rows: Sequence[Dots]) -> str:
    """Draw one line per arm: a dot per seed, the mean as a diamond, its 95 % interval as a bar."""

    def draw(axes: Axes) -> None:
        for index, row in enumerate(rows):
            place = -float(index)
            spread = np.linspace(-0.2, 0.2, len(row.values)) if len(row.values) > 1 else np.zeros(1)
            axes.plot(row.values, place + spread, "o", color=row.look.colour, alpha=0.45, markersize=4.5, mew=0)
            _draw_interval(axes, row, place, "x")
        shown = np.array([value for row in rows for value in (*row.values, row.mean, *(row.ci95 or ()))])
        scale_accuracy(axes, shown, "x")
        axes.set_yticks([-index for index in range(len(rows))], [row.arm for row in rows])
        axes.set_ylim(-len(rows) + 0.45, 0.55)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("test accuracy (%)")

    return svg(draw, WIDTH, max(HEIGHT, 0.7 + 0.42 * len(rows)))


def _draw_interval(axes: Axes, row: Dots, place: float, along: Literal["x", "y"]) -> None:
    if row.ci95 is not None:
        low, high = row.ci95
        ends, places = [low, high], [place, place]
        axes.plot(*((ends, places) if along == "x" else (places, ends)), "-", color=row.look.colour, lw=2.2, zorder=3)
    point = ([row.mean], [place]) if along == "x" else ([place], [row.mean])
    axes.plot(*point, "D", color=row.look.colour, markersize=6, mec="white", mew=0.9, zorder=4)


def sweep_curve(points: Sequence[Dots], factor: str, control: str, best: str | None) -> str:
    """Draw test accuracy over the factor of a sweep.

    Args:
        points: The arms in the factor's order.
        factor: Its name, for the axis.
        control: The control's arm, marked by a dashed line.
        best: The arm that validation chose, marked by a ring, or None.
    """
    values = [point.value for point in points]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    is_numeric = len(numbers) == len(values)
    places = [float(value) for value in numbers] if is_numeric else [float(index) for index in range(len(values))]
    is_log = is_numeric and min(places) > 0 and max(places) / min(places) >= 8

    def draw(axes: Axes) -> None:
        if is_numeric:
            axes.plot(places, [point.mean for point in points], "-", color="#777777", lw=1.2, zorder=1)
        for point, place in zip(points, places, strict=True):
            _draw_point(axes, point, place)
            if point.arm == control:
                axes.axvline(place, color=_CONTROL, ls=(0, (4, 3)), lw=0.9, alpha=0.6, zorder=0)
            if point.arm == best:
                axes.plot([place], [point.mean], "o", mfc="none", mec=_MARK, mew=1.6, ms=14, zorder=5)
            lost = f"{point.diverged} of {len(point.values)}\ndiverged" if point.diverged else ""
            note = "\n".join(part for part in ("control" if point.arm == control else "", lost) if part)
            transform = axes.get_xaxis_transform()
            axes.text(place, 1.02, note, transform=transform, ha="center", va="bottom", fontsize=7.5, color="#333333")
        shown = np.array([value for point in points for value in (*point.values, point.mean, *(point.ci95 or ()))])
        scale_accuracy(axes, shown, "y")
        if is_log:
            axes.set_xscale("log")
        axes.set_xticks(places, [f"{value:g}" if is_numeric else str(value) for value in values])
        axes.set_xticks([], minor=True)
        axes.set_xlabel(factor)
        axes.set_ylabel("test accuracy (%)")
        axes.margins(x=0.1)

    return svg(draw, WIDTH, HEIGHT)


def rate_search(searches: Sequence[RateSearch]) -> str:
    """Draw the range tests' losses by rate, and below them, by the same rates, the val accuracies that chose.

    A cross marks where a test ended by diverging, a ring and a dashed line what was chosen.
    """

    def losses(axes: Axes) -> None:
        top = 1.25 * max(each.losses[0] for each in searches if each.losses)
        for each in searches:
            axes.plot(each.tested, each.losses, each.look.dash, color=each.look.colour, label=each.arm)
            if each.is_lost:
                end = min(each.losses[-1], 0.97 * top)
                axes.plot(each.tested[-1:], [end], "x", color=each.look.colour, markersize=7, zorder=5)
        axes.set_ylim(0, top)
        axes.set_ylabel("training loss (nats)")
        _lay_out_rates(axes, searches)

    def accuracies(axes: Axes) -> None:
        for each in searches:
            _draw_tried(axes, each)
        scale_accuracy(axes, np.array([value for each in searches for _, some in each.tried for value in some]), "y")
        axes.set_ylabel("validation accuracy (%)")
        _lay_out_rates(axes, searches)

    draws = [losses] if any(each.losses for each in searches) else []
    draws += [accuracies] if any(each.tried for each in searches) else []
    return svg_stacked(draws, WIDTH, HEIGHT if len(draws) == 1 else 1.6 * HEIGHT)


def _draw_tried(axes: Axes, search: RateSearch) -> None:
    """Draw the mean by rate, the band from the lowest seed to the highest, a dot per seed, a ring at the chosen."""
    rates = [rate for rate, _ in search.tried]
    means = [float(np.mean(values)) for _, values in search.tried]
    lows, highs = ([pick(values) for _, values in search.tried] for pick in (min, max))
    colour = search.look.colour
    axes.plot(rates, means, search.look.dash, color=colour, label=search.arm, zorder=3)
    axes.fill_between(rates, lows, highs, color=colour, alpha=0.16, linewidth=0)
    for rate, values in search.tried:
        axes.plot([rate] * len(values), values, "o", color=colour, alpha=0.45, markersize=4, mew=0)
        if rate == search.chosen:
            axes.plot([rate], [float(np.mean(values))], "o", mfc="none", mec=colour, mew=1.6, ms=12, zorder=5)


def _lay_out_rates(axes: Axes, searches: Sequence[RateSearch]) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.set_xlabel("learning rate")
    axes.label_outer()
    for each in searches:
        if each.chosen is not None:
            axes.axvline(each.chosen, color=each.look.colour, ls=(0, (4, 3)), lw=0.9, alpha=0.6, zorder=0)


def _draw_point(axes: Axes, point: Dots, place: float) -> None:
    """Draw one value of a sweep, its seeds beside its interval so that both can be seen."""
    from matplotlib.transforms import ScaledTranslation

    assert axes.figure is not None
    beside = axes.transData + ScaledTranslation(0.09, 0, axes.figure.dpi_scale_trans)
    colour = point.look.colour
    axes.plot([place] * len(point.values), point.values, "o", color=colour, alpha=0.45, ms=4, mew=0, transform=beside)
    _draw_interval(axes, point, place, "y")


def confusion(share: Floats, names: Sequence[str]) -> str:
    """Draw a confusion matrix; the diagonal is grey so that the errors show.

    Args:
        share: (K, K), percent of each true class (row) by predicted class.
        names: (K,)
    """
    size = len(names)
    is_small = size <= CLASSES_WRITTEN

    def draw(axes: Axes) -> None:
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal", facecolor="#f7fbff")
        _draw_cells(axes, share, is_small)
        step = max(1, -(-size // 50))
        letters = 8 if is_small else 6.5
        axes.set_xticks(range(0, size, step), names[::step], rotation=0 if size <= 12 else 90, fontsize=letters)
        axes.set_yticks(range(0, size, step), names[::step], fontsize=letters)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)

    side = WIDTH if is_small else 7.6
    return svg(draw, side, side * 0.93)


def _draw_cells(axes: Axes, share: Floats, has_numbers: bool) -> None:
    from matplotlib.patches import Rectangle

    errors = share[~np.eye(len(share), dtype=bool)]
    top = max(float(errors.max(initial=0)), 1e-9)
    for row, column in np.argwhere(share > 0):
        value = float(share[row, column])
        colour = _DIAGONAL if row == column else _colour_map("Blues")(0.15 + 0.85 * value / top)
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.6))
        if has_numbers:
            text = f"{value:.0f}" if 9.95 <= value < 99 or value == 100 else f"{value:.1f}"
            is_dark = row != column and value > 0.6 * top
            ink = "white" if is_dark else "#222222"
            axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=ink)


def class_accuracy(names: Sequence[str], accuracy: Floats, low: Floats, high: Floats) -> str:
    """Draw the accuracy of each class in percent with its 95 % interval, in the order given from the top."""

    def draw(axes: Axes) -> None:
        places = -np.arange(len(names), dtype=np.float64)
        axes.hlines(places, low, high, color=_PALETTE[0], lw=2.2)
        axes.plot(accuracy, places, "D", color=_PALETTE[0], markersize=6, mec="white", mew=0.9)
        axes.set_yticks(places, list(names))
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-len(names) + 0.4, 0.6)
        axes.set_xlabel("test accuracy of the class (%)")
        axes.set_xlim(None, max(100.0, float(high.max())) + 0.02 * (100 - float(low.min())))

    return svg(draw, WIDTH, max(1.8, 0.8 + 0.26 * len(names)))


def _colour_map(name: str) -> Any:
    import matplotlib

    return matplotlib.colormaps[name]


def _shade(place: float) -> str:
    """A colour from dark blue to green along viridis, short of its pale end."""
    from matplotlib.colors import to_hex

    return str(to_hex(_colour_map("viridis")(0.08 + 0.72 * place)))


_CONTROL = "#1a1a1a"
_MARK = "#D55E00"
_DIAGONAL = "#e4e4e4"
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", ":")
_MARKERS = ("s", "^", "v", "P", "X", "d")
