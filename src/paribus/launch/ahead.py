"""What processes import while they wait for others, so that what is next begins at once."""

from __future__ import annotations

from paribus.engines import features_engine
from paribus.experiment import Experiment

REPORT = ("paribus.report", "scipy.special", "matplotlib.figure", "jinja2")
"""What the launching process needs when the last run has ended."""


def modules(experiment: Experiment, process: int) -> tuple[str, ...]:
    """Return what a worker process, counted from 0, should import while the data are still being prepared.

    Raises:
        WeightsError: If all arms are heads on frozen features, and the weights of one are not at hand.
    """
    if not all(arm.recipe.is_solved for arm in experiment.arms.values()):
        return ("torch",)
    computes = process == 0 and lacks_features(experiment)
    return (*(("timm", "onnxruntime") if computes else ()), "paribus.engines.features_engine", "scipy.optimize")


def lacks_features(experiment: Experiment) -> bool:
    """Return whether all arms are heads on frozen features, some of which are still to be computed.

    One process does that, with all that it takes, and it is best left alone until then.

    Raises:
        WeightsError: If an arm's weights are not at hand.
    """
    recipes = [arm.recipe for arm in experiment.arms.values()]
    return all(recipe.is_solved for recipe in recipes) and any(
        features_engine.lacks_features(recipe) for recipe in recipes
    )
