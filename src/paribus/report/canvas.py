"""What every figure is drawn on: one style, two kinds of axis, and SVG text that is the same bytes every time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]
WIDTH, HEIGHT = 4.6, 3.1  # Inches; two stand side by side on a page, one on a phone.


def svg(draw: Callable[[Axes], None], width: float, height: float, *, legend: bool = False) -> str:
    """Draw on one pair of axes, `width` x `height` inches, and return the SVG without prolog.

    The reader's own matplotlib settings have no part in it. Text stays text, laid out for a wide font, so that the
    fonts of the page fit.
    """
    return _drawn([draw], width, height, legend=legend)


def svg_stacked(draws: Sequence[Callable[[Axes], None]], width: float, height: float) -> str:
    """Draw on several axes, one below the other, that share their horizontal axis and one legend; see `svg`."""
    return _drawn(draws, width, height, legend=True)


def _drawn(draws: Sequence[Callable[[Axes], None]], width: float, height: float, *, legend: bool) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # The reader's own fonts have the letters that the layout's font lacks: text stays text in the SVG.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width, height), layout="constrained")
        rows = figure.subplots(len(draws), 1, sharex=True, squeeze=False)[:, 0]
        for draw, each in zip(draws, rows, strict=True):
            draw(each)
        axes = rows[0]
        handles, names = axes.get_legend_handles_labels()
        if legend and handles:
            columns = 4 if max(map(len, names)) < 9 else 3 if max(map(len, names)) < 14 else 2
            figure.legend(handles, names, loc="outside upper left", ncols=columns)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace("'DejaVu Sans'", _FONTS).strip()


def scale_loss(axes: Axes, values: Floats) -> None:
    """Take a logarithmic axis where the losses span more than a factor of four."""
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() / values.min() > 4:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        axes.set_yscale("log")
        few = values.max() / values.min() < 100
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def scale_accuracy(axes: Axes, values: Floats, along: Literal["x", "y"]) -> None:
    """Stretch the axis towards 100 % where the largest error is many times the smallest.

    Equal distances are then equal ratios of the error, so that 98.9 and 99.1 % can be told apart beside 10 %. Past the
    smallest error that there is, the axis goes on evenly, so that 100 % has its place.

    Args:
        axes: On which everything is drawn by now.
        values: All that must be seen, in percent; ends of intervals may lie beyond 100.
        along: Which axis.
    """
    errors = 100 - values[np.isfinite(values)]
    if not len(errors) or errors.min() > 10 or errors.max() < 5 * max(errors.min(), 0.05):
        return
    scale = _Stretched(max(float(errors[errors > 0].min()), 0.01))
    (axes.set_xscale if along == "x" else axes.set_yscale)("function", functions=(scale.forward, scale.inverse))
    low = max(100 - float(errors.max()) * 1.25, 0.0)
    ends = scale.forward(np.array([low, min(100 - float(errors.min()), 100.0)]))
    high = float(scale.inverse(ends[1:] + _ROOM * (ends[1] - ends[0]))[0])
    (axes.set_xlim if along == "x" else axes.set_ylim)(low, high)
    ticks = [tick for tick in _STRETCHED_TICKS if low <= tick <= min(high, 100 - scale.floor)]
    ticks += [100] if high >= 100 else []
    axis = axes.xaxis if along == "x" else axes.yaxis
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])


@dataclass(frozen=True)
class _Stretched:
    """Places on an axis of accuracies: by the logarithm of the error, and evenly where that is below `floor`."""

    floor: float

    def forward(self, accuracy: Floats) -> Floats:
        """Return the place of accuracies in percent."""
        error = 100 - np.asarray(accuracy, dtype=np.float64)
        even = -np.log10(self.floor) + _LAST * (1 - error / self.floor)
        return np.where(error >= self.floor, -np.log10(np.maximum(error, self.floor)), even)

    def inverse(self, place: Floats) -> Floats:
        """Return the accuracies at places."""
        beyond = np.asarray(place, dtype=np.float64) + np.log10(self.floor)
        error: Floats = self.floor * np.where(beyond <= 0, 10.0 ** -np.minimum(beyond, 0), 1 - beyond / _LAST)
        return 100 - error


_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans'"
_LAST = 0.3
"""How far 100 % lies from the smallest error: as far as half that error would."""
_ROOM = 0.05
_STRETCHED_TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99)
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "paribus",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "lines.linewidth": 1.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.4,
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
