"""The rules that look at the data as they were measured before training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

from paribus.checks.of_design import CHARACTERS
from paribus.checks.places import Places, of_arms
from paribus.config import AugmentConfig
from paribus.experiment import Arm, Experiment
from paribus.facts import Copies, DataFacts, Facts, SharedGroups
from paribus.wording import count, level, listed, margin, percent

FEW_IMAGES = 5
ASSUMED_ACCURACY = 0.95
SHARE_OF_CHARACTER = 0.5
"""How much of its image a character fills: MNIST's 20 of 28 pixels in both directions."""


def copies_across_splits(experiment: Experiment, facts: Facts) -> Places:
    """P018: images lie in two of train, val and test, equal to the last pixel."""
    if not facts.data:
        return None
    return [
        place
        for data in facts.data
        if data.copies
        for place in of_arms(experiment, data.arms, f"{listed([_shared(each) for each in data.copies])}.")
    ]


def test_leaks(experiment: Experiment, facts: Facts) -> Places:
    """P019: so many test images are training images that they alone could make a difference of the margin."""
    if not facts.data:
        return None
    places = []
    for data in facts.data:
        total = sum(data.counts["test"])
        leaked = sum(each.images for each in data.copies if (each.split, each.source) == ("test", "train"))
        if leaked > experiment.margin * total:
            message = (
                f"{count(leaked, 'test image')} of {total:,} ({percent(leaked / total)} %) are training images, and "
                f"could move the accuracy by more than the margin of {margin(experiment.margin, 'test_accuracy')}."
            )
            places += of_arms(experiment, data.arms, message)
    return places


def near_copies(experiment: Experiment, facts: Facts) -> Places:
    """P020: test images are training images again, with other brightness, contrast or compression."""
    if not facts.data:
        return None
    return [
        place
        for data in facts.data
        if data.near_copies
        for place in of_arms(
            experiment, data.arms, f"{_shared(data.near_copies)}, but for brightness, contrast or compression."
        )
    ]


def groups_in_several_splits(experiment: Experiment, facts: Facts) -> Places:
    """P034: images of one person, place or burst lie in two splits."""
    known = [data for data in facts.data if data.shared_groups is not None]
    if not known:
        return None
    places = []
    for data in known:
        if data.shared_groups:
            by = "By the numbers in the file names, " if data.groups_are_suggested else ""
            shared = listed([_shared_groups(each) for each in data.shared_groups])
            message = f"{by}{shared}. A score on known groups says little of new ones."
            places += of_arms(experiment, data.arms, message)
    return places


def few_of_a_class(experiment: Experiment, facts: Facts) -> Places:
    """P021: a split holds fewer than five images of a class."""
    if not facts.data:
        return None
    places = []
    for data in facts.data:
        few = [
            f"{_some(split, number)} of class `{data.class_names[label]}`"
            for split, numbers in data.counts.items()
            for label, number in enumerate(numbers)
            if number < FEW_IMAGES
        ]
        if few:
            more = [] if len(few) <= 3 else [f"{len(few) - 3} more such"]
            places += of_arms(experiment, data.arms, f"There {_is(few[0])} {listed(few[:3] + more)}.")
    return places


def too_few_images(experiment: Experiment, facts: Facts) -> Places:
    """P022: a difference of the margin lies within what the test or val images leave to chance."""
    if not facts.data:
        return None
    accuracy = expected_accuracy(experiment)
    places = []
    for data in facts.data:
        arms = [experiment.arms[name] for name in data.arms if name in experiment.arms]
        wanted = margin(experiment.margin, "test_accuracy")
        images = sum(data.counts["test"])
        numbers = {arm.name: len(experiment.seeds_of(arm.name)) for arm in arms}
        for seeds in sorted(set(numbers.values()), reverse=True):
            least = made_by_chance(accuracy, images, seeds)
            if least > experiment.margin:
                message = (
                    f"By chance alone two equal arms of {level(accuracy, 'test_accuracy')} differ by up to about "
                    f"{percent(least)} points on {count(images, 'test image')} with {count(seeds, 'seed')}, more than "
                    f"the margin of {wanted}."
                )
                places += of_arms(experiment, [name for name in numbers if numbers[name] == seeds], message)
        val = sum(data.counts.get("val", ()))
        if val and 1 / val > experiment.margin and _val_decides(experiment, arms):
            message = (
                f"Val chooses, and one of its {count(val, 'image')} is {percent(1 / val)} points of accuracy, more "
                f"than the margin of {wanted}."
            )
            places += of_arms(experiment, data.arms, message)
    return places


def expected_accuracy(experiment: Experiment) -> float:
    """Return what the control is expected to reach: the middle of what is published, 95 % where nothing is."""
    return sum(experiment.published) / 2 if experiment.published else ASSUMED_ACCURACY


def made_by_chance(accuracy: float, images: int, seeds: int) -> float:
    """Return the difference of accuracy below which 95 of 100 experiments on equal arms end, as a fraction.

    1.96 sqrt(2 a (1 - a) / (seeds x images)): two arms that err independently of each other in every run, which is
    nearly so for separately trained networks, given how hard each image is (Jordan 2024, arXiv 2304.01910).

    Args:
        accuracy: That both arms are expected to reach, a fraction.
        images: At least 1.
        seeds: At least 1.
    """
    return NormalDist().inv_cdf(0.975) * math.sqrt(2 * accuracy * (1 - accuracy) / (seeds * images))


def strong_augmentation(experiment: Experiment, facts: Facts) -> Places:
    """P015: an augmentation loses, tears or blackens the object, or turns one character into another."""
    augmented = [
        (experiment.arms[name], data)
        for data in facts.data
        for name in data.arms
        if name in experiment.arms and experiment.arms[name].recipe.augment != AugmentConfig()
    ]
    if not augmented:
        return None
    return [(arm.name, f"{listed(faults)}.") for arm, data in augmented if (faults := list(_faults(arm, data)))]


def _faults(arm: Arm, data: DataFacts) -> Iterator[str]:
    augment, config = arm.recipe.augment, arm.recipe.data
    side = min(data.image_shape[1:]) - 2 * config.pad
    if augment.shift > side / 3:
        yield f"`augment.shift` of {augment.shift:g} pixels moves objects out of images of {side}"
    if augment.elastic > side / 8:
        yield f"`augment.elastic` of {augment.elastic:g} pixels tears apart what images of {side} show"
    if augment.scale > 0.5:
        yield f"`augment.scale` of {augment.scale:g} crops or shrinks objects to less than half their size"
    if augment.rotate > 45 and config.name in CHARACTERS:
        yield f"`augment.rotate` of {augment.rotate:g} degrees turns characters into others, such as 6 into 9"
    least = 1.0 if augment.crop_scale is None else augment.crop_scale[0]
    if least < SHARE_OF_CHARACTER and config.name in CHARACTERS:
        yield f"`augment.crop_scale` from {least:g} shows parts of characters, which may be other characters"
    if augment.brightness >= 1:
        yield f"`augment.brightness` of {augment.brightness:g} turns images black"
    if augment.contrast >= 1:
        yield f"`augment.contrast` of {augment.contrast:g} turns images into one even grey"


def _val_decides(experiment: Experiment, arms: Sequence[Arm]) -> bool:
    swept = {name for question in experiment.questions if question.kind == "sweep" for name in question.arms}
    return any(
        arm.name in swept or arm.recipe.train.keep == "best" or arm.recipe.train.patience is not None for arm in arms
    )


def _shared(found: Copies) -> str:
    verb = "is" if found.images == 1 else "are"
    return (
        f"{count(found.images, f'{found.split} image')} {verb} in {found.source} too, such as {found.split} image "
        f"{found.example[0]}, which is {found.source} image {found.example[1]}"
    )


def _shared_groups(found: SharedGroups) -> str:
    verb = "has" if found.groups == 1 else "have"
    return (
        f"{found.groups:,} of the {count(found.of, 'group')} of {found.split} {verb} images in {found.source} too "
        f"({count(found.images, f'{found.split} image')})"
    )


def _some(split: str, number: int) -> str:
    return f"no {split} image" if number == 0 else count(number, f"{split} image")


def _is(first: str) -> str:
    return "is" if first.startswith(("no ", "1 ")) else "are"
