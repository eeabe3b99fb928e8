"""What experiments need besides this package: data sets and pretrained weights, looked for before anything trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paribus import data
from paribus.assignment import quick
from paribus.config import DataConfig, ModelConfig
from paribus.errors import DataError, WeightsError
from paribus.experiment import Experiment
from paribus.transfer import find_weights
from paribus.wording import count, listed


def require_supplies(ahead: Mapping[str, Experiment], data_dir: Path | None, *, is_quick: bool) -> None:
    """Refuse to begin while data or weights are missing or damaged; what is there is prepared.

    Args:
        ahead: The experiments that are to be trained, by name.
        data_dir: The folder that is searched first for known data sets.
        is_quick: Whether they are in their quick form, for the command that is advised.

    Raises:
        DataError: With everything that is missing at once, and what to put where.
    """
    wanting: dict[str, list[str]] = {}
    for name, experiment in ahead.items():
        for refusal in _refusals(experiment, data_dir):
            wanting.setdefault(refusal, []).append(name)
    if not wanting:
        return
    there = [name for name in ahead if not any(name in names for names in wanting.values())]
    others = f", or begin with the rest: `{quick.command(is_quick=is_quick, only=there)}`" if there else ""
    told = [f"- for {listed(names)}: {refusal}" for refusal, names in wanting.items()]
    raise DataError(
        "\n".join(
            [
                "Data and weights must be there before anything is trained, but "
                f"{count(len(wanting), 'thing')} {'is' if len(wanting) == 1 else 'are'} missing or damaged:",
                *told,
                f"Put them there and run the same command again{others}.",
            ]
        )
    )


def _refusals(experiment: Experiment, data_dir: Path | None) -> list[str]:
    """What is wrong, in the words of whoever reads it, each once."""
    recipes = [arm.recipe for arm in experiment.arms.values()]
    sets = {recipe.data.images_key: recipe.data for recipe in recipes}
    networks = {str(recipe.model.options.get("weights")): recipe.model for recipe in recipes}
    told = [
        *(_refusal_of_data(config, data_dir) for config in sets.values()),
        *(_refusal_of_weights(model) for model in networks.values()),
    ]
    return list(dict.fromkeys(filter(None, told)))


def _refusal_of_data(config: DataConfig, data_dir: Path | None) -> str:
    try:
        data.prepare(config, data_dir)
    except DataError as error:
        return str(error)
    return ""


def _refusal_of_weights(model: ModelConfig) -> str:
    weights = model.options.get("weights", "none") if model.name == "pretrained" else "none"
    if weights == "none":
        return ""
    try:
        find_weights(
            weights,
            model.options["backbone"],
            instead=f"No hub has it: docs/how-to/assignment.md says what it was made of, and what will do instead. Put "
            f"`{weights}.json` and the file it names into a folder, and let PARIBUS_WEIGHTS name that.",
        )
    except WeightsError as error:
        return str(error)
    return ""
