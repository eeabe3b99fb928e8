"""The one next experiment worth running, as a command or as an arm to add; the first rule that applies is told.

1. A network does not run (P035): mend it.
2. A run is missing: train it.
3. A check forbids a verdict: let `paribus explain` say how to mend what it names.
4. Undecided, and more seeds would decide: the least number that decides a comparison, rounded up as `would_decide`
   tells it, but five at least.
5. Undecided with fewer than five seeds, from which nothing can be foretold: five.
6. The best value of a sweep at its edge: one more value beyond it.
7. A learning rate shared between optimisers or batch sizes (P004): an arm that retunes it.
8. Epochs held equal, updates not (P005): an arm with equal updates.
9. The lead only trains longer and over-fits (P031): weights of the epoch with the lowest validation loss.
10. The control is still improving at its end (P030): twice to four times the epochs.

Else nothing that can be set would decide, or everything is decided. A setting is told only where the experiment accepts
it and does not have it already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from paribus import experiments
from paribus.checks import WHOLE, of_question
from paribus.checks.of_design import without_equal_updates, without_own_rate
from paribus.commentary.material import Material, among, words
from paribus.commentary.sentence import Sentence
from paribus.config import FINDABLE, RATE, Value
from paribus.errors import ConfigError
from paribus.experiment import CONTROL, Experiment
from paribus.wording import NONE_WOULD, listed, named, rounded_up

_BARE = re.compile(r"[A-Za-z0-9_-]+")  # Keys that TOML takes without quotes.
_FEW_SEEDS = 5
_MOST_FACTORS = 3  # An arm of more is no answer to what one of them does.


def next_experiment(material: Material) -> Sentence:
    """Return the last sentence of a paragraph."""
    found = next((text for rule in _RULES if (text := rule(material)) is not None), None)
    return Sentence(found or _nothing(material), [], "next")


def _nothing(material: Material) -> str:
    """What is said where no rule applies."""
    open_ = [each for each in material.comparisons if each["verdict"] == "undecided"]
    for_images = [each["arm"] for each in open_ if each["test_images_needed"]]
    if for_images:
        return f"Next: nothing to run; only more test images would decide about {named(for_images)}."
    if open_:
        was_sought = all(each["p_equivalence"] is not None for each in open_)
        would = f"{NONE_WOULD} would" if was_sought else "more of the same would not"
        return f"Next: nothing to run; {would} decide about {named([each['arm'] for each in open_])}."
    if material.entry["sweep"] is not None and material.entry["sweep"]["best"] is None:
        return "Next: nothing to run; without validation figures no value can be chosen."
    if not material.comparisons:
        return "Next: nothing to run; of the values tried, the control has the best one."
    return "Next: nothing to run; every comparison of this question is decided."


def command(experiment: Experiment, *settings: str) -> str:
    """Return the command that runs an experiment again, with settings replaced.

    A shipped experiment that differs in its seeds at most is given by its name, any other by the file that
    `paribus run` keeps in its folder.
    """
    shipped = None
    if experiment.name in experiments.names():
        shipped = Experiment.load(experiments.find(experiment.name))
    if shipped is None or replace(shipped, seeds=experiment.seeds) != experiment.resolve({}):
        target = f"results/{experiment.name}/experiment.toml"
    else:
        target = experiment.name
        has_seeds = any("experiment.seeds" in setting for setting in settings)
        if shipped.seeds != experiment.seeds and not has_seeds:
            settings = (_seeds(experiment, len(experiment.seeds)), *settings)
    return " ".join(["paribus run", target, *(f"--set {setting}" for setting in settings)])


def _seeds(experiment: Experiment, least: int) -> str:
    """The setting of at least so many seeds, those that ran among them."""
    seeds = list(experiment.seeds)
    if seeds == list(range(len(seeds))):
        return f"experiment.seeds={max(least, len(seeds))}"
    unused = (seed for seed in range(least + len(seeds)) if seed not in experiment.seeds)
    seeds += [next(unused) for _ in range(least - len(seeds))]
    return f"'experiment.seeds=[{', '.join(map(str, seeds))}]'"


def _mend_the_network(material: Material) -> str | None:
    broken = material.fired("P035", [WHOLE, *_arms_needed(material)])
    if not broken:
        return None
    whose = "of every arm" if WHOLE in broken else f"of {listed([words(name) for name in broken])}"
    return f"Next: mend the network {whose}; `paribus explain P035` says how."


def _run_what_is_missing(material: Material) -> str | None:
    wanted = material.experiment.seeds_of
    if all(len(material.arms[name].runs) == len(wanted(name)) for name in _arms_needed(material)):
        return None
    return f"Next: `{command(material.experiment)}` trains the runs that are missing."


def _arms_needed(material: Material) -> list[str]:
    """The arms without which the question has no answer."""
    names = (CONTROL, *material.question.arms, *(each["control"] for each in material.comparisons))
    return list(dict.fromkeys(names))


def _mend(material: Material) -> str | None:
    invalid = [each for each in material.comparisons if each["verdict"] == "invalid"]
    if not invalid:
        return None
    code = str(invalid[0]["reason"]).partition(":")[0]
    return f"Next: mend what check `{code}` names; `paribus explain {code}` says how."


def _more_seeds(material: Material) -> str | None:
    open_ = [each for each in material.measured if each["verdict"] == "undecided" and each["seeds_needed"]]
    least = min((each["seeds_needed"] for each in open_), default=0)
    if least <= _trained(material):
        return None
    seeds = max(rounded_up(least), _FEW_SEEDS)
    names = [each["arm"] for each in open_ if each["seeds_needed"] <= seeds]
    again = command(material.experiment, *_with_seeds(material, seeds))
    return f"Next: `{again}` has seeds enough to decide about {named(names)}."


def _enough_to_foretell(material: Material) -> str | None:
    is_open = any(each["verdict"] == "undecided" for each in material.measured)
    if not is_open or _trained(material) >= _FEW_SEEDS:
        return None
    again = command(material.experiment, *_with_seeds(material, _FEW_SEEDS))
    return f"Next: `{again}` shows how much a seed changes."


def _trained(material: Material) -> int:
    """With how many seeds the question's arms are trained."""
    seeds = len(material.experiment.seeds)
    return seeds if material.question.seeds is None else min(seeds, material.question.seeds)


def _with_seeds(material: Material, least: int) -> list[str]:
    """The settings with which the question's arms are trained with at least so many seeds."""
    experiment, question = material.experiment, material.question
    own = [] if question.seeds is None else [f"question.{question.id}.seeds={least}"]
    return own if own and least <= len(experiment.seeds) else [_seeds(experiment, least), *own]


def _beyond_the_edge(material: Material) -> str | None:
    question = material.question
    if question.factor is None or not material.fired("P008", [of_question(question)]):
        return None
    sweep = material.entry["sweep"]
    values = [row["value"] for row in sweep["values"]]
    best = next(row["value"] for row in sweep["values"] if row["arm"] == sweep["best"])
    beyond = _beyond(sorted(values), best)
    if beyond is None or not _accepts(material.experiment, {question.factor: beyond}):
        return None
    wider = [beyond, *values] if beyond < best else [*values, beyond]
    return f"Next: extend the sweep beyond its best value, with `values = [{', '.join(map(_toml, wider))}]`."


def _beyond(ordered: Sequence[float], best: float) -> float | None:
    """One step beyond an edge: the ratio of the last two values again, or their distance where one is not positive."""
    edge, neighbour = (ordered[0], ordered[1]) if best == ordered[0] else (ordered[-1], ordered[-2])
    is_ratio = edge > 0 and neighbour > 0
    beyond = edge * edge / neighbour if is_ratio else 2 * edge - neighbour
    if all(isinstance(value, int) for value in ordered):
        return round(beyond) if round(beyond) not in ordered else None
    return float(f"{beyond:.2g}")


def _own_rate(material: Material) -> str | None:
    for name in among(without_own_rate(material.experiment, material.question), material.measured):
        factors = dict(material.experiment.arms[name].factors)
        arm = _new_arm(material, f"{name}-retuned", {**factors, RATE: FINDABLE[RATE]})
        if arm is not None:
            return f"Next: find a learning rate of its own for `{name}`, with {arm}."
    return None


def _equal_updates(material: Material) -> str | None:
    for name in among(without_equal_updates(material.experiment, material.question), material.measured):
        own, control = material.experiment.arms[name].recipe.train, material.experiment.control.train
        epochs = max(1, round(control.epochs * own.batch_size / control.batch_size))
        arm = _new_arm(
            material, f"{name}-same-steps", {**material.experiment.arms[name].factors, "train.epochs": epochs}
        )
        if arm is not None:
            return f"Next: let `{name}` make as many updates as the control, with {arm}."
    return None


def _new_arm(material: Material, name: str, factors: Mapping[str, Value]) -> str | None:
    """An arm as TOML, or None where the experiment has it already or would refuse it."""
    is_known = any(dict(arm.factors) == dict(factors) for arm in material.experiment.arms.values())
    is_plain = len(factors) <= _MOST_FACTORS
    if not is_plain or name in material.experiment.arms or is_known or not _accepts(material.experiment, factors):
        return None
    inside = ", ".join(f'"{key}" = {_toml(value)}' for key, value in factors.items())
    together = ", ".join(f'"{key}"' for key in factors)
    key = name if _BARE.fullmatch(name) else f'"{name}"'
    return f"`arms.{key} = {{ {inside} }}` and `together = [[{together}]]`"


def _keep_best(material: Material) -> str | None:
    lead = material.lead
    if lead is None or set(material.experiment.arms[lead["arm"]].factors) != {"train.epochs"}:
        return None
    if not material.fired("P031", [lead["arm"]]):
        return None
    return _with_setting(
        material, ["control.train.keep=best"], "tests the weights of the epoch with the lowest validation loss"
    )


def _longer(material: Material) -> str | None:
    if not material.fired("P030", [CONTROL]):
        return None
    epochs = material.experiment.control.train.epochs
    settings = [f"control.train.epochs={times * epochs}" for times in (2, 3, 4)]
    return _with_setting(material, settings, "trains the control, which is still improving, for longer")


def _with_setting(material: Material, settings: Sequence[str], what: str) -> str | None:
    """The first of some settings that the experiment accepts, as a command that does something."""
    for setting in settings:
        try:
            Experiment.parse(material.experiment.to_toml(), [setting])
        except ConfigError:  # An arm has the value already, or cannot go with it.
            continue
        return f"Next: `{command(material.experiment, setting)}` {what}."
    return None


def _accepts(experiment: Experiment, factors: Mapping[str, Value]) -> bool:
    """Whether the control's recipe can be changed so."""
    try:
        experiment.control.with_factors(factors)
    except ConfigError:
        return False
    return True


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return '"off"'
    return f'"{value}"' if isinstance(value, str) else repr(value)


_RULES: tuple[Callable[[Material], str | None], ...] = (
    _mend_the_network,
    _run_what_is_missing,
    _mend,
    _more_seeds,
    _enough_to_foretell,
    _beyond_the_edge,
    _own_rate,
    _equal_updates,
    _keep_best,
    _longer,
)
