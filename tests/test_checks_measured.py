"""Checks of data and networks: each has a case that fires and one that does not, on facts made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from check_designs import HEAD, RELU, SWEEP, design, fired, of
from paribus import checks
from paribus.checks import WHOLE
from paribus.checks.of_data import made_by_chance
from paribus.experiment import Experiment
from paribus.facts import Behaviour, BrokenModel, Copies, DataFacts, Facts, ModelFacts, SharedGroups

FINE_DATA = DataFacts(
    ("control", "relu"),
    (1, 32, 32),
    ("a", "b"),
    {"train": (50, 50), "val": (50, 50), "test": (5000, 5000)},
    (),
    None,
    shared_groups=(),
)
FINE_BEHAVIOUR = Behaviour(False, False, None, None, (), (), 0.0)


def net(arms: tuple[str, ...] = ("control", "relu"), **seen: Any) -> ModelFacts:
    """A network that behaves as it should, but for what was `seen`."""
    return ModelFacts(arms, "net", 10, replace(FINE_BEHAVIOUR, **seen))


FINE_NET = net()
TEN_IN_TRAIN = (Copies("test", "train", 250, (4, 17)),)
FACTS_CASES: list[tuple[str, DataFacts | ModelFacts | BrokenModel, str]] = [
    (
        "P015",
        FINE_DATA,
        "`augment.shift` of 12 pixels moves objects out of images of 32, `augment.elastic` of 5 ",
    ),
    (
        "P018",
        replace(FINE_DATA, copies=(Copies("val", "train", 1, (0, 3)), Copies("test", "val", 2, (4, 17)))),
        "1 val image is in train too, such as val image 0, which is train image 3 and 2 test images are in val too",
    ),
    (
        "P019",
        replace(FINE_DATA, copies=TEN_IN_TRAIN),
        "250 test images of 10,000 (2.50 %) are training images, and could move the accuracy by more than the margin",
    ),
    (
        "P020",
        replace(FINE_DATA, near_copies=Copies("test", "train", 1, (4, 17))),
        "1 test image is in train too, such as test image 4, which is train image 17, but for brightness, contrast or",
    ),
    (
        "P034",
        replace(FINE_DATA, shared_groups=(SharedGroups("test", "train", 39, 40, 49),), groups_are_suggested=True),
        "By the numbers in the file names, 39 of the 40 groups of test have images in train too (49 test images). A ",
    ),
    (
        "P021",
        replace(FINE_DATA, counts={"train": (50, 3), "test": (0, 10_000)}),
        "There are 3 train images of class `b` and no test image of class `a`.",
    ),
    (
        "P022",
        replace(FINE_DATA, counts={"train": (50, 50), "test": (25, 25)}),
        "By chance alone two equal arms of 95.00 % differ by up to about 3.82 points on 50 test images with 5 seeds, "
        "more than the margin of 2 points.",
    ),
    ("P023", net(bent=True, lowest=0.0), "they are never negative, as behind a ReLU"),
    ("P024", net(bent=True, sums_to_one=True), "Over 10 classes the loss cannot fall below 1.4612 nats."),
    ("P025", net(unbent=(("c1", "c2"),)), "Nothing nonlinear stands between `c1` and `c2`: what comes"),
    ("P026", net(moving=("body.bn",)), "The parameters of `body.bn` are frozen, but a pass in training"),
    ("P027", net(mode_gap=0.26), "the logits still differ by up to 0.26 between training and"),
    ("P035", BrokenModel(("control", "relu"), "`net.py:Net` must take images."), "`net.py:Net` must take images."),
]
STRONG = "augment = { shift = 12, elastic = 5, scale = 0.6, rotate = 90 }"


def facts_of(found: DataFacts | ModelFacts | BrokenModel) -> Facts:
    if isinstance(found, BrokenModel):
        return Facts(broken=(found,))
    return Facts(data=(found,)) if isinstance(found, DataFacts) else Facts(models=(found,))


def augmented(settings: str, data: str = "digits") -> Experiment:
    head = HEAD.replace("augment = {{ hflip = {hflip} }}", settings.replace("{", "{{").replace("}", "}}"))
    given = {"seeds": 5, "val": "200", "data": data, "published": "", "train": "", "epochs": 2}
    return Experiment.parse(head.format(**given) + RELU)


@pytest.mark.parametrize("code, bad, text", FACTS_CASES, ids=[case[0] for case in FACTS_CASES])
def test_checks_of_data_and_networks_fire_and_pass(
    code: str, bad: DataFacts | ModelFacts | BrokenModel, text: str
) -> None:
    experiment = augmented(STRONG)
    assert text in fired(code, checks.measured(experiment, facts_of(bad)))[WHOLE if code != "P015" else "relu"]
    fine = Facts((FINE_DATA,), (FINE_NET,))
    calm = augmented("augment = { shift = 2, rotate = 10, scale = 0.1, elastic = 1.0 }")
    assert [finding.outcome for finding in of(code, checks.measured(calm, fine))] == ["passed"]


def test_too_few_images_are_told_for_the_seeds_that_an_arm_has() -> None:
    experiment = design(RELU.replace("asks =", "seeds = 3\nasks ="), seeds=5)
    few = replace(FINE_DATA, counts={"train": (50, 50), "test": (25, 25)})
    found = fired("P022", checks.measured(experiment, Facts((few,))))
    assert {arm: text.partition(" test images with ")[2][:7] for arm, text in found.items()} == {
        "control": "5 seeds",
        "relu": "3 seeds",
    }


@pytest.mark.parametrize("facts", [None, Facts()], ids=["no facts", "nothing seen"])
def test_without_facts_no_check_of_them_applies(facts: Facts | None) -> None:
    findings = checks.measured(augmented(STRONG), facts)
    assert {finding.outcome for finding in findings} == {"not applicable"}
    assert sorted(finding.code for finding in findings) == sorted(case[0] for case in FACTS_CASES)


def test_no_augmentation_is_none_too_strong() -> None:
    assert of("P015", checks.measured(design(RELU), Facts((FINE_DATA,))))[0].outcome == "not applicable"


@pytest.mark.parametrize(
    ("augment", "data", "text"),
    [
        ("crop_scale = [0.08, 1]", "mnist", "`augment.crop_scale` from 0.08 shows parts of characters"),
        ("crop_scale = [0.6, 1]", "mnist", None),
        ("crop_scale = [0.08, 1]", "photos.zip", None),
        ("brightness = 1", "photos.zip", "`augment.brightness` of 1 turns images black."),
        ("contrast = 1.5", "photos.zip", "`augment.contrast` of 1.5 turns images into one even grey."),
        ("brightness = 0.4, contrast = 0.4, saturation = 1, hue = 0.5", "photos.zip", None),
    ],
)
def test_crops_and_colours_that_lose_what_is_shown(augment: str, data: str, text: str | None) -> None:
    found = fired("P015", checks.measured(augmented(f"augment = {{ {augment} }}", data), Facts((FINE_DATA,))))
    assert set(found) == (set() if text is None else {"control", "relu"})
    assert text is None or found["relu"].startswith(text)


def test_facts_of_some_arms_are_found_at_these() -> None:
    facts = Facts(models=(net(("relu",), bent=True, lowest=-1.0, highest=1.0), FINE_NET))
    message = fired("P023", checks.measured(design(RELU), facts))["relu"]
    assert message.endswith("they stay within −1 to 1. Over 10 classes the loss cannot fall below 0.7966 nats.")


@pytest.mark.parametrize(
    ("lowest", "highest", "text"),
    [
        (-10.0, 10.0, "they stay within −10 to 10."),
        (-0.17, None, "they are never below −0.17."),
        (None, 0.0, "they are never above 0."),
        (None, None, "a step forth and the same step back change them by different amounts."),
    ],
)
def test_a_bend_is_described_by_its_bounds(lowest: float | None, highest: float | None, text: str) -> None:
    facts = Facts(models=(net(bent=True, lowest=lowest, highest=highest),))
    assert fired("P023", checks.measured(design(RELU), facts))[WHOLE].endswith(text)


def test_groups_that_nobody_knows_cannot_be_shared_and_known_ones_are_told_as_such() -> None:
    unknown = Facts((replace(FINE_DATA, shared_groups=None),))
    assert of("P034", checks.measured(design(RELU), unknown))[0].outcome == "not applicable"
    both = (SharedGroups("val", "train", 1, 5, 1), SharedGroups("test", "val", 2, 4, 7))
    text = fired("P034", checks.measured(design(RELU), Facts((replace(FINE_DATA, shared_groups=both),))))[WHOLE]
    assert text.startswith(
        "1 of the 5 groups of val has images in train too (1 val image) and 2 of the 4 groups of test"
    )


def test_few_copies_are_no_error() -> None:
    facts = Facts((replace(FINE_DATA, copies=(Copies("test", "train", 200, (0, 0)),)),))
    findings = checks.measured(design(RELU), facts)
    assert fired("P018", findings)
    assert not fired("P019", findings)


def test_long_lists_of_small_classes_are_cut() -> None:
    few = replace(FINE_DATA, class_names=("a", "b", "c", "d", "e"), counts={"test": (1, 1, 1, 1, 10_000)})
    text = fired("P021", checks.measured(design(RELU), Facts((few,))))[WHOLE]
    assert text.startswith("There is 1 test image of class `a`, 1 test image of class `b`, ")
    assert text.endswith(" and 1 more such.")


def test_val_counts_where_it_chooses() -> None:
    facts = Facts(
        (replace(FINE_DATA, arms=("control", "lr-0.01", "lr-1"), counts={"val": (20, 20), "test": (9999, 1)}),)
    )
    text = fired("P022", checks.measured(design(SWEEP), facts))[WHOLE]
    assert text == "Val chooses, and one of its 40 images is 2.50 points of accuracy, more than the margin of 2 points."
    assert not fired("P022", checks.measured(design(RELU), facts))


@pytest.mark.parametrize(("accuracy", "images", "seeds"), [(0.95, 50, 5), (0.99, 10_000, 1)])
def test_the_made_by_chance_is_what_chance_makes(accuracy: float, images: int, seeds: int) -> None:
    rng = np.random.default_rng(0)
    rights = rng.binomial(images * seeds, accuracy, (2, 20_000)) / (images * seeds)
    share = float(np.mean(np.abs(rights[0] - rights[1]) <= made_by_chance(accuracy, images, seeds)))
    assert share == pytest.approx(0.95, abs=0.02)
