"""What was measured about the mechanism: only what differs by more than noise, and never as a cause.

A measure is compared run by run, paired by seed, by a t test over at least three seeds. It is told where the p value,
corrected by Holm over everything that was measured on the pair, is at most 0.05; the clearest three are told. What was
not measured in every run of both arms is left out. A figure that one of the two cannot have, such as dead units of an
activation without a floor, is tested against none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from paribus.arms import gap
from paribus.commentary.material import Material, Pair
from paribus.commentary.quotes import run_name
from paribus.commentary.sentence import Sentence, item
from paribus.stats import LEVEL, holm
from paribus.store import LayerProbe, Probes, Run
from paribus.wording import difference, percent, ratio, unit

_LEAST_SEEDS = 3
_MOST_TOLD = 3
Figure = Callable[[Run, Probes | None], float | None]


@dataclass(frozen=True)
class _Measure:
    """A figure of a run, how a sentence tells it of the arm and its baseline, and how the figure is written."""

    figure: Figure
    told: str
    write: Callable[[float], str]
    told_alone: str = ""


@dataclass(frozen=True)
class _Difference:
    """A measure of both arms, one figure per seed; None where that arm has no such thing."""

    key: str
    own: list[float] | None
    against: list[float] | None
    p: float


def mechanism(material: Material) -> list[Sentence]:
    """Return one sentence with what differs between the lead and its baseline beside the result."""
    lead = material.lead
    if lead is None:
        return []
    pair = material.pair(lead)
    if len(pair.own) < _LEAST_SEEDS:
        return []
    found = _differences(pair)
    adjusted = holm([each.p for each in found])
    clear = [each for each, p in zip(found, adjusted, strict=True) if p <= LEVEL]
    told = sorted(clear, key=lambda each: each.p)[:_MOST_TOLD]
    if not told:
        return []
    evidence = [
        item(run_name(run), each.key, figure)
        for each in told
        for runs, figures in ((pair.own, each.own), (pair.against, each.against))
        for run, figure in zip(runs, figures or (), strict=False)
    ]
    said = "; ".join(_told(each, pair) for each in told)
    return [Sentence(f"Measured alongside, `{pair.name}` against {pair.baseline_words}: {said}.", evidence)]


def _differences(pair: Pair) -> list[_Difference]:
    own, against = ([(run, run.probes()) for run in runs] for runs in (pair.own, pair.against))
    found = []
    for key, measure in _MEASURES.items():
        first, second = (_figures(measure, runs) for runs in (own, against))
        is_comparable = first is not None and second is not None
        if not is_comparable and not (measure.told_alone and _all_probed(own) and _all_probed(against)):
            continue
        p = _p(first, second)
        if p is not None:
            found.append(_Difference(key, first, second, p))
    return found


def _figures(measure: _Measure, runs: Sequence[tuple[Run, Probes | None]]) -> list[float] | None:
    """The figure of every run, None where a run has none."""
    figures = [measure.figure(run, probes) for run, probes in runs]
    known = [figure for figure in figures if figure is not None and math.isfinite(figure)]
    return known if len(known) == len(figures) else None


def _all_probed(runs: Sequence[tuple[Run, Probes | None]]) -> bool:
    return all(probes is not None for _, probes in runs)


def _p(own: list[float] | None, against: list[float] | None) -> float | None:
    """P value of the paired t test that the mean difference is zero, None where nothing varies or there is nothing."""
    from scipy.special import stdtr

    count = len(own or against or ())
    if not count:
        return None
    zeros = [0.0] * count
    differences = np.subtract(own or zeros, against or zeros)
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    if sd <= 1e-12 * abs(mean) or sd == 0:
        return None
    return float(2 * stdtr(count - 1, -abs(mean) / (sd / math.sqrt(count))))


def _told(found: _Difference, pair: Pair) -> str:
    measure = _MEASURES[found.key]
    if found.own is not None and found.against is not None:
        first, second = (measure.write(float(np.mean(figures))) for figures in (found.own, found.against))
        return measure.told.format(f"{first} against {second}")
    figures = found.own if found.own is not None else found.against
    whose = f"`{pair.name}`" if found.own is not None else pair.baseline_words
    return measure.told_alone.format(measure.write(float(np.mean(figures or ()))), whose)


def _gap(run: Run, _: Probes | None) -> float | None:
    return gap(run)


def _gradient_ratio(run: Run, _: Probes | None) -> float | None:
    norms = list((run.epochs[-1].layer_gradient_norms or {}).values()) if run.epochs else []
    return norms[0] / norms[-1] if len(norms) > 1 and norms[-1] > 0 else None


def _gradient_ratio_at_start(_: Run, probes: Probes | None) -> float | None:
    norms = list(((probes and probes.gradient_norms_at_start) or {}).values())
    return norms[0] / norms[-1] if len(norms) > 1 and norms[-1] > 0 else None


def _dead(_: Run, probes: Probes | None) -> float | None:
    layers = [layer for layer in _layers(probes) if layer.dead is not None]
    units = sum(layer.units for layer in layers)
    return sum(layer.dead or 0 for layer in layers) / units if units else None


def _saturated(_: Run, probes: Probes | None) -> float | None:
    return max((layer.saturated for layer in _layers(probes) if layer.saturated is not None), default=None)


def _layers(probes: Probes | None) -> tuple[LayerProbe, ...]:
    return probes.layers if probes else ()


def _of_probes(figure: Callable[[Probes], float]) -> Figure:
    return lambda _, probes: None if probes is None else figure(probes)


def _share(fraction: float) -> str:
    return f"{percent(fraction)} %"


def _points(fraction: float) -> str:
    return f"{difference(fraction, 'test_accuracy')} {unit('test_accuracy')}"


_MEASURES: dict[str, _Measure] = {
    "gap": _Measure(_gap, "training accuracy minus validation accuracy is {}", _points),
    "gradient_ratio": _Measure(
        _gradient_ratio, "at the end the gradient norm of the first layer over that of the last is {}", ratio
    ),
    "probes.gradient_ratio_at_start": _Measure(
        _gradient_ratio_at_start,
        "at the start the gradient norm of the first layer over that of the last is {}",
        ratio,
    ),
    "probes.dead": _Measure(_dead, "dead units are {}", _share, "{0} of the units of {1} are dead"),
    "probes.saturated": _Measure(
        _saturated,
        "values at a bound of the activation, in the layer with most of them, are {}",
        _share,
        "in its most saturated layer {1} has {0} of its values at a bound of the activation",
    ),
    "probes.overconfidence": _Measure(
        _of_probes(lambda probes: probes.confidence - probes.accuracy), "confidence minus accuracy is {}", _points
    ),
    "probes.calibration_error": _Measure(
        _of_probes(lambda probes: probes.calibration_error), "the calibration error is {}", _share
    ),
    "probes.lost_to_shift_1": _Measure(
        _of_probes(lambda probes: probes.accuracy - probes.accuracy_shifted_1),
        "a shift by 1 pixel costs {} of accuracy",
        _points,
    ),
    "probes.lost_to_shift_2": _Measure(
        _of_probes(lambda probes: probes.accuracy - probes.accuracy_shifted_2),
        "a shift by 2 pixels costs {} of accuracy",
        _points,
    ),
    "probes.lost_to_rotation_10": _Measure(
        _of_probes(lambda probes: probes.accuracy - probes.accuracy_rotated_10),
        "a rotation by 10 degrees costs {} of accuracy",
        _points,
    ),
}
