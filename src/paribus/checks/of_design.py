"""The rules that need no run: they read the experiment alone."""

from __future__ import annotations

import math
import re

from paribus.checks.places import WHOLE, Places, of_arms, of_question
from paribus.config import EPOCHS, RATE, Value
from paribus.experiment import CONTROL, Arm, Experiment, Question
from paribus.stats import LEVEL
from paribus.wording import count, named

SAME_UPDATES = 0.05
"""Two numbers of updates count as equal within that share."""


def comparisons_planned(experiment: Experiment) -> int:
    """Return how many comparisons Holm corrects for: an arm in two questions counts once, a sweep counts once."""
    pairs = {
        (arm, question.metric)
        for question in experiment.questions
        if question.kind == "compare"
        for arm in question.arms
    }
    return len(pairs) + sum(question.kind == "sweep" for question in experiment.questions)


def too_few_seeds(experiment: Experiment) -> Places:
    """P001: the smallest possible exact p, 2 / 2^n, cannot meet what Holm asks for."""
    comparisons = comparisons_planned(experiment)
    if not comparisons:
        return None
    least = math.ceil(math.log2(2 * comparisons / LEVEL))
    by_seeds: dict[int, list[str]] = {}
    for arm in dict.fromkeys(arm for question in experiment.questions for arm in question.arms):
        by_seeds.setdefault(len(experiment.seeds_of(arm)), []).append(arm)
    all_seeds = len(experiment.seeds)
    if all_seeds < least:
        return [(WHOLE, _rests_on_one_analysis(all_seeds, comparisons, least))]
    return [
        place
        for seeds, arms in by_seeds.items()
        if seeds < least
        for place in of_arms(experiment, arms, _rests_on_one_analysis(seeds, comparisons, least))
    ]


def _rests_on_one_analysis(seeds: int, comparisons: int, least: int) -> str:
    rests = "One seed gives no verdict at all" if seeds == 1 else "Verdicts rest on the crossed analysis alone"
    return (
        f"With {count(seeds, 'seed')} the exact test over seeds cannot give a p below {2 / 2**seeds:.3g}, but Holm "
        f"over {count(comparisons, 'comparison')} asks for {LEVEL / comparisons:.3g}. {rests}; {least} seeds "
        "are the least at which both tests can agree."
    )


def validated_on_test(experiment: Experiment) -> Places:
    """P002: some arm validates on the test images."""
    places = [name for name, arm in experiment.arms.items() if arm.recipe.data.val == "test"]
    message = "Validation looks at the test images, so val figures say nothing beyond the test figures."
    return of_arms(experiment, places, message)


def chosen_on_test(experiment: Experiment) -> Places:
    """P003: a sweep chooses its best value on the test images."""
    sweeps = [question for question in experiment.questions if question.kind == "sweep"]
    if not sweeps:
        return None
    message = 'The best value is chosen on the test images, because `data.val = "test"`: its accuracy is too good.'
    return [
        (of_question(question), message)
        for question in sweeps
        if any(experiment.arms[name].recipe.data.val == "test" for name in question.arms)
    ]


_RATE_BOUND = ("optim.name", "optim.momentum", "optim.nesterov", "train.batch_size")


def shared_rate(experiment: Experiment) -> Places:
    """P004: optimiser, momentum or batch size changes and no arm of the question retunes the rate along with it."""
    arms = [arm for question in experiment.questions for arm in _arms_of(experiment, question)]
    if not any(_bound_to_rate(arm) for arm in arms):
        return None
    places = {}
    for question in experiment.questions:
        for arm in without_own_rate(experiment, question):
            changed = _bound_to_rate(arm)
            verb = "changes" if len(changed) == 1 else "change"
            places[arm.name] = (
                f"{named(list(changed))} {verb} while `optim.lr` stays at {arm.recipe.optim.lr:g}, and no arm of "
                f"`{question.id}` gives it a rate of its own. The result holds at this rate only."
            )
    return list(places.items())


def without_own_rate(experiment: Experiment, question: Question) -> list[Arm]:
    """Return the arms of a question that change what a rate depends on, while none of its arms retunes it with that."""
    return [
        arm
        for arm in _arms_of(experiment, question)
        if (changed := _bound_to_rate(arm))
        and not any(
            RATE in other.factors and changed.items() <= dict(other.factors).items()
            for other in _arms_of(experiment, question)
        )
    ]


def _bound_to_rate(arm: Arm) -> dict[str, Value]:
    return {key: value for key, value in arm.factors.items() if key in _RATE_BOUND}


def updates_not_held(experiment: Experiment) -> Places:
    """P005: the batch size changes at equal epochs and no arm of the question holds the updates equal."""
    arms = [arm for question in experiment.questions for arm in _arms_of(experiment, question)]
    if not any(_has_other_updates(arm) for arm in arms):
        return None
    control, places = experiment.control.train, {}
    for question in experiment.questions:
        for arm in without_equal_updates(experiment, question):
            own = arm.recipe.train
            factor = own.batch_size / control.batch_size
            places[arm.name] = (
                f"At {count(own.epochs, 'epoch')} a batch of {own.batch_size} makes {1 / factor:.2g} times the updates "
                f"of the control's {control.batch_size}, and no arm of `{question.id}` holds the updates equal, which "
                f"would take {count(round(control.epochs * factor), 'epoch')}."
            )
    return list(places.items())


def without_equal_updates(experiment: Experiment, question: Question) -> list[Arm]:
    """Return the arms of a question with another batch size, while none of its arms makes as many updates with it."""
    control = experiment.control.train
    return [
        arm
        for arm in _arms_of(experiment, question)
        if _has_other_updates(arm)
        and not any(
            other.recipe.train.batch_size == arm.recipe.train.batch_size
            and math.isclose(
                other.recipe.train.epochs,
                control.epochs * arm.recipe.train.batch_size / control.batch_size,
                rel_tol=SAME_UPDATES,
            )
            for other in _arms_of(experiment, question)
        )
    ]


def _has_other_updates(arm: Arm) -> bool:
    return "train.batch_size" in arm.factors and EPOCHS not in arm.factors


CHARACTERS = ("mnist", "dhcd", "digits")


def flipped_characters(experiment: Experiment) -> Places:
    """P006: an arm flips images of characters."""
    arms = [(name, arm.recipe) for name, arm in experiment.arms.items() if arm.recipe.data.name in CHARACTERS]
    if not arms:
        return None
    message = "Flipping changes which character an image of `{}` shows, or makes one that nobody writes."
    return [
        (name, message.format(recipe.data.name))
        for name, recipe in arms
        if recipe.augment.hflip or recipe.augment.vflip
    ]


def other_data_named(experiment: Experiment) -> Places:
    """P014: a text names a known data set, and the images come from another known one."""
    texts = [(WHOLE, f"{experiment.name} {experiment.title}", list(experiment.arms.values()))]
    texts += [
        (of_question(question), question.asks, [experiment.arms[CONTROL], *_arms_of(experiment, question)])
        for question in experiment.questions
    ]
    places, applies = [], False
    for where, text, arms in texts:
        used = set().union(*(_data_sets_named(arm.recipe.data.name) for arm in arms))
        named_here = _data_sets_named(text)
        applies = applies or bool(used)
        if used and named_here and not used & named_here:
            message = f"The text names {named(sorted(named_here))}, but the images are of {named(sorted(used))}."
            places.append((where, message))
    return places if applies else None


def not_shuffled(experiment: Experiment) -> Places:
    """P016: training takes the images in their stored order, and no arm asks what that does."""
    arms = [arm.name for arm in experiment.arms.values() if not (arm.recipe.train.shuffle or _asks_shuffle(arm))]
    message = "Every epoch takes the training images in their stored order: `train.shuffle` is false."
    return of_arms(experiment, arms, message)


def confounded(experiment: Experiment) -> Places:
    """P017: an arm changes two factors or more that no other arm of the experiment changes alone."""
    several = [(arm, _own_factors(arm, experiment)) for arm in experiment.arms.values() if len(arm.factors) > 1]
    if not several:
        return None
    alone = [dict(arm.factors) for arm in experiment.arms.values() if len(arm.factors) == 1]
    untried = [
        (arm.name, [factor for factor in factors if {factor: arm.factors[factor]} not in alone])
        for arm, factors in several
    ]
    return [
        (
            name,
            f"{named(factors)} change together, and no arm changes one of them alone: a difference can be put down to "
            f"{'the pair' if len(factors) == 2 else 'all of them together'} only.",
        )
        for name, factors in untried
        if len(factors) > 1
    ]


def _own_factors(arm: Arm, experiment: Experiment) -> list[str]:
    """The factors of an arm without those that come along: what fairness asks for, options of what is changed, and
    how to train, where either the arm or the control is a head that is solved for and not trained.
    """
    begins_to_train = arm.recipe.is_solved != experiment.control.is_solved

    def comes_along(factor: str) -> bool:
        table = factor.partition(".")[0]
        is_option = factor != f"{table}.name" and f"{table}.name" in arm.factors
        is_training = begins_to_train and (table in _TRAINING or factor in _TRAINING)
        return is_option or is_training or any(other in arm.factors for other in _COMPANIONS.get(factor, ()))

    return [factor for factor in arm.factors if not comes_along(factor)]


def _asks_shuffle(arm: Arm) -> bool:
    return "train.shuffle" in arm.factors


def _data_sets_named(text: str) -> set[str]:
    """The known data sets that a text or a path names; a longer name is not also the shorter one in it."""
    if text in _DATA_SETS:
        return {text}
    words = f" {re.sub('[^a-z0-9]+', ' ', text.lower())} "
    found = set()
    for phrase, name in sorted(_PHRASES.items(), key=lambda each: -len(each[0])):
        if f" {phrase} " in words:
            found.add(name)
            words = words.replace(f" {phrase} ", "  ")
    return found


def _arms_of(experiment: Experiment, question: Question) -> list[Arm]:
    return [experiment.arms[name] for name in question.arms]


_COMPANIONS = {
    "optim.lr": _RATE_BOUND,
    "train.epochs": ("train.batch_size",),
    "data.size": ("model.input",),
    "data.fit": ("model.input", "data.size"),
    "model.backbone": ("model.weights",),
}
"""What belongs with what: P004 and P005 ask for it, or the second cannot change alone."""
_TRAINING = ("optim", "schedule", "train", "model.start", "model.stage_decay", "model.batch_norm")
"""Tables and keys that say how a network is trained, of which a head that is solved for has none."""

_DATA_SETS: dict[str, tuple[str, ...]] = {
    "mnist": ("mnist",),
    "fashion-mnist": ("fashion mnist", "fashionmnist"),
    "kmnist": ("kmnist", "kuzushiji"),
    "emnist": ("emnist",),
    "dhcd": ("dhcd", "devanagari"),
    "digits": ("optdigits", "sklearn digits", "scikit learn digits"),
    "cifar-10": ("cifar 10", "cifar10"),
    "cifar-100": ("cifar 100", "cifar100"),
    "svhn": ("svhn", "street view house numbers"),
    "dogs-vs-cats": ("dogs vs cats", "cats vs dogs", "dogs and cats", "cats and dogs", "cats dogs"),
    "sign-digits": ("sign digits", "sign language", "sign mnist"),
}
"""Data sets by the words that name them. ImageNet is not one: texts name it as the source of weights."""

_PHRASES = {phrase: name for name, phrases in _DATA_SETS.items() for phrase in phrases}
