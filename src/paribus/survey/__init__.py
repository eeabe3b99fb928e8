"""What can be measured before training: copies across splits, and how each network behaves on real images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from paribus.config import DataConfig
from paribus.data import Dataset, Drawn, Split, draw
from paribus.errors import ModelError, ParibusError
from paribus.experiment import Arm, Experiment
from paribus.facts import BrokenModel, DataFacts, Facts, ModelFacts, looked_at
from paribus.survey.overlap import copies, near_copies, shared_groups
from paribus.wording import named

__all__ = ["Load", "copies", "near_copies", "shared_groups", "survey"]

Load = Callable[[DataConfig], Dataset]


def survey(experiment: Experiment, load: Load) -> Facts:
    """Measure each distinct data table and each distinct network of an experiment once.

    Nothing fails here: what cannot be had is named in `Facts.unseen`, networks that do not run in `Facts.broken`.

    Args:
        experiment: The design; its first seed draws the splits and the initial weights.
        load: Returns the prepared images of a data table, or raises a `ParibusError`.
    """
    seed = experiment.seeds[0]
    data: list[DataFacts] = []
    networks: dict[str, tuple[Dataset, list[Arm]]] = {}
    unseen = []
    for arms in _alike(experiment):
        config = arms[0].recipe.data
        try:
            dataset = load(config)
            data.append(_data_facts(dataset, arms, seed))
        except ParibusError as error:
            unseen.append(f"The data `{config.name}`: {error}")
            continue
        for arm in arms:
            if arm.recipe.model.name == "pretrained":
                continue  # What lies between its layers is timm's choice, and the engines keep still what is frozen.
            key = f"{arm.recipe.model.model_dump_json()} {dataset.image_shape} {dataset.num_classes}"
            networks.setdefault(key, (dataset, []))[1].append(arm)
    models = list(_looked_at(networks.values(), seed, unseen))
    seen = tuple(each for each in models if isinstance(each, ModelFacts))
    broken = tuple(each for each in models if isinstance(each, BrokenModel))
    return Facts(tuple(data), seen, tuple(unseen), broken, looked_at(experiment))


def _looked_at(
    networks: Iterable[tuple[Dataset, list[Arm]]], seed: int, unseen: list[str]
) -> Iterator[ModelFacts | BrokenModel]:
    """Yield what is seen of each network; where there is none, torch is not imported. Adds to `unseen`."""
    for dataset, arms in networks:
        from paribus.survey.networks import build, model_facts

        names = tuple(arm.name for arm in arms)
        try:
            model = build(dataset, arms[0], seed)
        except ModelError as error:
            yield BrokenModel(names, str(error))
            continue
        try:
            yield model_facts(model, dataset, arms)
        except ModelError as error:
            unseen.append(f"The network of {named(names)}: {error}")


def _alike(experiment: Experiment) -> list[list[Arm]]:
    """Return the arms in groups that share a data table."""
    groups: dict[DataConfig, list[Arm]] = {}
    for arm in experiment.arms.values():
        groups.setdefault(arm.recipe.data, []).append(arm)
    return list(groups.values())


def _data_facts(dataset: Dataset, arms: list[Arm], seed: int) -> DataFacts:
    drawn = draw(dataset, arms[0].recipe.data, seed)
    indices = drawn.train_indices
    splits = {"train": Split(dataset.train.images[indices], dataset.train.labels[indices])}
    splits |= {"test": dataset.test} if drawn.val_is_test else {"val": drawn.val, "test": dataset.test}
    count = dataset.num_classes
    groups = _groups(dataset, drawn)
    return DataFacts(
        arms=tuple(arm.name for arm in arms),
        image_shape=dataset.image_shape,
        class_names=dataset.class_names,
        counts={name: tuple(np.bincount(split.labels, minlength=count).tolist()) for name, split in splits.items()},
        copies=copies({name: split.images for name, split in splits.items()}),
        near_copies=near_copies(splits["train"].images, dataset.test.images),
        shared_groups=None if groups is None else shared_groups(groups),
        groups_are_suggested=dataset.train.groups is None and groups is not None,
    )


def _groups(dataset: Dataset, drawn: Drawn) -> dict[str, npt.NDArray[np.int64]] | None:
    """Return the group of each image of train, val and test, as they are given or else as file names suggest."""

    def of(split: Split) -> npt.NDArray[np.int64] | None:
        return split.suggested_groups if split.groups is None else split.groups

    train, test = of(dataset.train), of(dataset.test)
    if train is None or test is None:
        return None
    groups = {"train": train[drawn.train_indices]}
    if drawn.val_indices is not None:
        groups["val"] = train[drawn.val_indices]
    elif not drawn.val_is_test and (val := of(drawn.val)) is not None:
        groups["val"] = val
    return groups | {"test": test}
