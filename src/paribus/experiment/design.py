"""The experiment as it is designed: arms, questions, and the values that are found before the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tomli_w

from paribus.config import FINDABLE, RATE, Recipe, Value
from paribus.errors import ConfigError

Metric = Literal["test_accuracy", "test_loss"]
METRICS: tuple[Metric, ...] = ("test_accuracy", "test_loss")
CONTROL = "control"
CONTROL_RETUNED = "control-retuned"


@dataclass(frozen=True)
class Found:
    """A value that was found before the runs; `at_edge`: it is the last that was tried, and a better may lie beyond."""

    value: int | float
    at_edge: bool = False


@dataclass(frozen=True)
class Arm:
    """A complete recipe, with the factors in which it differs from the control.

    `factors` are as written, so one that is to be found holds its word, such as ``"retune"``. `recipe` has the values
    of `found` in their places; what is not found yet stands at the control's value, and `recipe.unfound` names it.
    """

    name: str
    factors: Mapping[str, Value]
    recipe: Recipe
    found: Mapping[str, Found] = field(default_factory=dict)

    @property
    def to_find(self) -> tuple[str, ...]:
        """The factors whose values are found before the runs, whether they have been or not."""
        return tuple(name for name, value in self.factors.items() if name in FINDABLE and value == FINDABLE[name])

    @property
    def is_retuned(self) -> bool:
        """Whether the arm is trained at a learning rate of its own, chosen on val."""
        return RATE in self.to_find

    @classmethod
    def of(cls, name: str, factors: Mapping[str, Value], control: Recipe, found: Mapping[str, Found]) -> Arm:
        """Return the arm that changes these factors of the control, with what was found of them."""
        recipe = control.with_factors({key: None if value == "off" else value for key, value in factors.items()}, "")
        known = {key: each for key, each in found.items() if key in recipe.unfound}
        try:
            recipe = recipe.with_factors({key: each.value for key, each in known.items()}, "")
        except ConfigError as error:
            raise ConfigError(
                f"What was found for the arm `{name}` must fit its recipe, but does not: {error}"
            ) from None
        return cls(name, factors, recipe, known)


@dataclass(frozen=True)
class Question:
    """What is asked before training.

    `arms` are the names of the arms compared with the control, in the file's order. A sweep has one `factor`, and its
    arms are described as a curve. `margin` is the smallest difference worth knowing, in the metric's unit. `seeds` is
    with how many of the experiment's seeds its arms are trained at most, None for all: for arms that cost much.
    """

    id: str
    asks: str
    kind: Literal["compare", "sweep"]
    arms: tuple[str, ...]
    metric: Metric
    margin: float
    factor: str | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Experiment:
    """One control, its arms, the questions asked, seeds and margin.

    `arms` holds the control first. Where an arm is retuned, the control at its own best rate is an arm too,
    `CONTROL_RETUNED`, which no file names; once that rate is found to be the control's own, the control itself takes
    its place, as it does where it is solved for and has no rate.

    `published` is an interval of published test accuracies for the control, fractions, or None.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    margin: float
    arms: Mapping[str, Arm]
    questions: tuple[Question, ...]
    published: tuple[float, float] | None = None

    @property
    def control(self) -> Recipe:
        """The control's recipe."""
        return self.arms[CONTROL].recipe

    def seeds_of(self, arm: str) -> tuple[int, ...]:
        """Return what seeds an arm is trained with: the first of the experiment's, as many as its questions want."""
        asked = [question.seeds for question in self.questions if arm in question.arms]
        if arm in (CONTROL, CONTROL_RETUNED) or not asked or None in asked:
            return self.seeds
        return self.seeds[: max(wish for wish in asked if wish is not None)]

    def baseline(self, arm: str) -> str:
        """Return what an arm is compared with: the control, or for a retuned arm the control at its own best rate.

        An arm at its best rate against the control at a shared one would be a comparison of tuning budgets (Choi et
        al. 2019, arXiv 1910.05446).
        """
        is_like_for_like = arm != CONTROL_RETUNED and self.arms[arm].is_retuned and CONTROL_RETUNED in self.arms
        return CONTROL_RETUNED if is_like_for_like else CONTROL

    def resolve(self, found: Mapping[str, Mapping[str, Found]]) -> Experiment:
        """Return the experiment with these found values and no others in the places of the words in its file.

        Args:
            found: By arm and factor; what is not named is left to be found.

        Raises:
            ConfigError: If a value does not fit its recipe.
        """
        written = [arm for name, arm in self.arms.items() if name not in (CONTROL, CONTROL_RETUNED)]
        if not any(arm.to_find for arm in written):
            return self
        arms = {CONTROL: self.arms[CONTROL]}
        if any(arm.is_retuned for arm in written) and not self.control.is_solved:
            tuned = Arm.of(CONTROL_RETUNED, {RATE: FINDABLE[RATE]}, self.control, found.get(CONTROL_RETUNED, {}))
            if tuned.recipe != self.control:
                arms[CONTROL_RETUNED] = tuned
        for arm in written:
            arms[arm.name] = (
                Arm.of(arm.name, arm.factors, self.control, found.get(arm.name, {})) if arm.to_find else arm
            )
        return replace(self, arms=arms)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
        """Read an experiment from a TOML file.

        Args:
            path: The file.
            overrides: Settings that replace the file's, such as ``"control.train.epochs=5"``, ``"experiment.seeds=3"``.

        Raises:
            ConfigError: If the file is not there, not TOML, or not a valid experiment.
        """
        from paribus.experiment.source import read_text

        return cls.parse(read_text(Path(path)), overrides, where=str(path))

    @classmethod
    def parse(cls, text: str, overrides: Sequence[str] = (), where: str = "experiment") -> Experiment:
        """Read an experiment from TOML text; see `load`."""
        from paribus.experiment.reading import read

        return read(text, overrides, where)

    def to_toml(self) -> str:
        """Return the experiment as TOML, complete with every default; `parse` gives back an equal experiment.

        What is found before the runs is written as the word that asks for it.
        """
        head: dict[str, Any] = {"name": self.name, "title": self.title}
        head |= {"seeds": list(self.seeds), "margin": self.margin}
        if self.published is not None:
            head["published"] = list(self.published)
        tables = {
            "experiment": head,
            "control": _control_table(self.control),
            "question": [self._question_table(question) for question in self.questions],
        }
        return tomli_w.dumps(tables)

    def _question_table(self, question: Question) -> dict[str, Any]:
        table: dict[str, Any] = {"id": question.id, "asks": question.asks, "kind": question.kind}
        table |= {"metric": question.metric, "margin": question.margin}
        if question.seeds is not None:
            table["seeds"] = question.seeds
        if question.kind == "sweep":
            assert question.factor is not None
            values = [self.arms[arm].recipe.factor(question.factor) for arm in question.arms]
            return table | {"factor": question.factor, "values": ["off" if item is None else item for item in values]}
        factors = {arm: dict(self.arms[arm].factors) for arm in question.arms}
        together = [sorted(changed) for changed in factors.values() if len(changed) > 1]
        off = {
            arm: {key: "off" if value is None else value for key, value in changed.items()}
            for arm, changed in factors.items()
        }
        return table | {"arms": off, "together": together}


def _control_table(control: Recipe) -> dict[str, Any]:
    tables: dict[str, Any] = control.model_dump(mode="json")
    if ":" in control.model.name:  # What an argument of a user's class is where it is left out, only the class knows.
        tables["model"] = {key: "off" if value is None else value for key, value in tables["model"].items()}
    table: dict[str, Any] = _without_none(tables)
    return table


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
