"""Whether two changes that an arm makes at once add up to what each of them does alone."""

from __future__ import annotations

import numpy as np

from paribus.commentary.material import Comparison, Material
from paribus.commentary.quotes import quote
from paribus.commentary.sentence import Evidence, Sentence, item
from paribus.experiment import CONTROL, Metric
from paribus.stats import t_interval
from paribus.wording import difference, interval, level, unit


def additivity(material: Material) -> list[Sentence]:
    """Return what the parts of an arm of two factors do alone, for every arm whose parts are arms as well."""
    return [each for comparison in material.measured for each in _of_one(material, comparison)]


def _of_one(material: Material, comparison: Comparison) -> list[Sentence]:
    """Over the seeds that the four arms share, a difference of differences and its t interval on these test images."""
    parts, metric = _parts(material, comparison["arm"]), material.question.metric
    if comparison["control"] != CONTROL or len(parts) != 2:
        return []
    names = [comparison["arm"], *parts, CONTROL]
    seeds = set.intersection(*(set(material.arms[name].seeds) for name in names))
    runs = {name: [run for run in material.arms[name].runs if run.result.seed in seeds] for name in names}
    figures = {name: [getattr(run.result, metric) for run in runs[name]] for name in names}
    if not seeds or any(figure is None for each in figures.values() for figure in each):
        return []
    whole, first, second, control = (np.array(figures[name], dtype=np.float64) for name in names)
    beyond = whole - first - second + control
    evidence = [each for name in parts for each in quote(runs[name], metric)]
    alone = [
        f"{level(float(each.mean()), metric)} with `{name}`" for name, each in zip(parts, (first, second), strict=True)
    ]
    text = f"Each change alone gives {' and '.join(alone)}; beyond the sum of the two, `{names[0]}` adds "
    return [Sentence(f"{text}{_beyond(names, beyond, metric, evidence)}{_conclusion(beyond)}.", evidence)]


def _beyond(names: list[str], beyond: np.ndarray, metric: Metric, evidence: list[Evidence]) -> str:
    key = f"beyond.{names[1]}.{names[2]}.{metric}"
    found, ends = float(beyond.mean()), t_interval(beyond)
    evidence.append(item(names[0], f"{key}.mean", found))
    text = f"{difference(found, metric)} {unit(metric)}"
    if ends is None:
        return text
    evidence += [item(names[0], f"{key}.ci95.{index}", end) for index, end in enumerate(ends)]
    return f"{text} (95 % interval over seeds {interval(ends, lambda end: difference(end, metric))})"


def _conclusion(beyond: np.ndarray) -> str:
    """Whether the two add up, as far as these test images tell."""
    ends = t_interval(beyond)
    if ends is None:
        return ""
    return ": they do not simply add up" if ends[0] * ends[1] > 0 else ": whether they simply add up is open"


def _parts(material: Material, name: str) -> list[str]:
    """The arms that change one of an arm's two factors, each to the same value."""
    factors = dict(material.experiment.arms[name].factors)
    if len(factors) != 2:
        return []
    arms = material.experiment.arms.values()
    found = [[other.name for other in arms if other.factors == {key: value}] for key, value in factors.items()]
    return [names[-1] for names in found if names]
