"""One table per question: what was measured about why its arms differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from paribus.arms import gap
from paribus.report.material import Material
from paribus.report.page import Cell, Table
from paribus.store import LayerProbe, Probes, Run
from paribus.wording import NOTHING, difference, interval, magnitude, percent, plain

Norms = Mapping[str, float]


@dataclass(frozen=True)
class _Arm:
    """The finished runs of one arm, and the probes of those that have them."""

    runs: tuple[Run, ...]
    probes: tuple[Probes, ...]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> _Arm:
        finished = tuple(run for run in runs if run.result.status == "finished")
        return cls(finished, tuple(probes for run in finished if (probes := run.probes()) is not None))


def tables(material: Material, arms: Sequence[str]) -> tuple[Table, ...]:
    """Return the table of a question's arms, or none where no run of theirs has finished.

    A column is left out where nothing was measured for any of the arms.

    Args:
        material: What the report is made from.
        arms: The question's arms and the control, in the order of the rows.
    """
    measured = [_Arm.of(material.runs[arm]) for arm in arms]
    columns = {head: [write(arm) for arm in measured] for head, write in _COLUMNS.items()}
    columns = {head: cells for head, cells in columns.items() if any(cells)}
    if not columns:
        return ()
    rows = zip([Cell(arm) for arm in arms], *columns.values(), strict=True)
    filled = tuple(tuple(cell or Cell(NOTHING) for cell in row) for row in rows)
    return (Table(_CAPTION, ("Measured in", *columns), filled, tuple(range(1, len(columns) + 1))),)


def _updates(arm: _Arm) -> Cell | None:
    return Cell(plain(fmean(run.result.steps for run in arm.runs))) if arm.runs else None


def _gradients(norms: Sequence[Norms | None]) -> Cell | None:
    """How many times the gradient of the last layer that of the first is, a mean over runs, with those of both."""
    known = [each for each in norms if each]
    if not known or len(known[0]) < 2:
        return None
    first, *_, last = known[0]
    ends = [fmean(each[layer] for each in known) for layer in (first, last)]
    is_known = all(each[last] > 0 for each in known)
    ratio = f"{magnitude(fmean(each[first] / each[last] for each in known))} ×" if is_known else NOTHING
    return Cell(ratio, f"{magnitude(ends[0])} over {magnitude(ends[1])}")


def _gradients_at_start(arm: _Arm) -> Cell | None:
    return _gradients([probes.gradient_norms_at_start for probes in arm.probes])


def _gradients_at_end(arm: _Arm) -> Cell | None:
    return _gradients([run.epochs[-1].layer_gradient_norms for run in arm.runs if run.epochs])


def _dead_or_saturated(arm: _Arm) -> Cell | None:
    found = [cell for cell in (_dead(arm), _saturated(arm)) if cell]
    return Cell(", ".join(cell.text for cell in found), "; ".join(cell.small for cell in found)) if found else None


def _dead(arm: _Arm) -> Cell | None:
    """The share of all units that can die, and the layer with most of them."""
    layers = [layer for probes in arm.probes for layer in probes.layers if layer.dead is not None]
    if not layers:
        return None
    dead, units = sum(layer.dead or 0 for layer in layers), sum(layer.units for layer in layers)
    name, _ = _worst(layers, lambda layer: (layer.dead or 0) / layer.units)
    return Cell(percent(dead / units), f"dead, most in {name}" if dead else "dead")


def _saturated(arm: _Arm) -> Cell | None:
    """The mean over runs of the layer whose values are saturated most in each, and the layer with the highest mean.

    How many values a layer has is not known, so there is no mean over them.
    """
    layers = [layer for probes in arm.probes for layer in probes.layers if layer.saturated is not None]
    if not layers:
        return None
    name, _ = _worst(layers, lambda layer: layer.saturated or 0.0)
    by_run = [[layer.saturated or 0.0 for layer in probes.layers if layer in layers] for probes in arm.probes]
    return Cell(percent(fmean(max(each) for each in by_run if each)), f"saturated, most in {name}")


def _worst(layers: Sequence[LayerProbe], share: Callable[[LayerProbe], float]) -> tuple[str, float]:
    """Return the layer with the highest mean share over runs, the first of several."""
    names = dict.fromkeys(layer.layer for layer in layers)
    means = {name: fmean(share(layer) for layer in layers if layer.layer == name) for name in names}
    return max(means.items(), key=lambda item: item[1])


def _gap(arm: _Arm) -> Cell | None:
    gaps = [each for run in arm.runs if (each := gap(run)) is not None]
    return _spread(gaps, lambda points: difference(points, "test_accuracy"))


def _calibration_error(arm: _Arm) -> Cell | None:
    return _spread([probes.calibration_error for probes in arm.probes], percent)


def _accuracy(arm: _Arm) -> Cell | None:
    return _spread([probes.accuracy for probes in arm.probes], percent)


def _accuracy_after(change: str) -> Callable[[_Arm], Cell | None]:
    """Return the column of the accuracy after a change, with what the change cost."""

    def write(arm: _Arm) -> Cell | None:
        if not arm.probes:
            return None
        after = fmean(getattr(probes, f"accuracy_{change}") for probes in arm.probes)
        cost = after - fmean(probes.accuracy for probes in arm.probes)
        return Cell(percent(after), difference(cost, "test_accuracy"))

    return write


def _spread(values: Sequence[float], write: Callable[[float], str]) -> Cell | None:
    if not values:
        return None
    return Cell(write(fmean(values)), interval((min(values), max(values)), write) if len(values) > 1 else "")


_CAPTION = (
    "What was measured about the mechanism: means over finished runs, in small print the lowest and the highest run. "
    "Gradients: the norm of the first layer's over that of the last layer's. Saturated: in each run's layer with most "
    "of it. "
    "Under an accuracy after a change: what the change cost, in points"
)
_COLUMNS: dict[str, Callable[[_Arm], Cell | None]] = {
    "Updates": _updates,
    "Gradients at the start": _gradients_at_start,
    "Gradients at the end": _gradients_at_end,
    "Dead units or saturated values (%)": _dead_or_saturated,
    "Training minus validation accuracy (points)": _gap,
    "Calibration error (points)": _calibration_error,
    "Validation accuracy as is (%)": _accuracy,
    "Shifted 1 pixel (%)": _accuracy_after("shifted_1"),
    "Shifted 2 pixels (%)": _accuracy_after("shifted_2"),
    "Rotated 10° (%)": _accuracy_after("rotated_10"),
}
