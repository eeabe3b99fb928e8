"""Reading an experiment from its tables: the one-factor rule, and every refusal in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from paribus.config import EPOCHS, FINDABLE, RATE, Recipe, Value
from paribus.errors import ConfigError, nearest, one_of
from paribus.experiment.design import CONTROL, CONTROL_RETUNED, METRICS, Arm, Experiment, Question
from paribus.experiment.source import read_tables
from paribus.wording import named

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")  # It names folders and files.
_NAME_FORM = "letters, digits, `-`, `_`, `.` or `+`, at most 80 of them"
_MOST_SEEDS = 10_000
_SOLVER = "lbfgs"  # `Recipe` holds it together with heads that are solved for.
_EXPERIMENT_KEYS = ("name", "title", "seeds", "margin", "published")
_QUESTION_KEYS = ("id", "asks", "kind", "arms", "together", "factor", "values", "metric", "margin", "seeds")


def read(text: str, overrides: Sequence[str], where: str) -> Experiment:
    """Return the experiment that a TOML text describes, nothing of it found yet; see `Experiment.load`.

    Raises:
        ConfigError: If the text is not TOML, or not a valid experiment.
    """
    return _experiment(read_tables(text, overrides, where)).resolve({})


def _experiment(tables: Mapping[str, Any]) -> Experiment:
    _refuse_unknown(tables, ("experiment", "control", "question"), "", _HOMES)
    for required in ("experiment", "control"):
        if required not in tables:
            raise ConfigError(f"An experiment must have a table `[{required}]`, but there is none. Add it.")
        if not isinstance(tables[required], dict):
            raise ConfigError(
                f"`{required}` must be one table, but got {tables[required]!r}. Write `[{required}]`, in single "
                "brackets, and its keys below."
            )
    head = tables["experiment"]
    _refuse_unknown(head, _EXPERIMENT_KEYS, "experiment.")
    name = _text(head, "name", "experiment")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"`experiment.name` must be {_NAME_FORM}, but got `{name}`. Shorten or rename it.")
    margin = _margin(head.get("margin"), "experiment.margin")
    arms: dict[str, Arm] = {CONTROL: Arm(CONTROL, {}, Recipe.parse(tables["control"], "control"))}
    given = tables.get("question", [])
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise ConfigError(
            "Questions must be written as `[[question]]` tables, but single brackets or another form are given. Write "
            "double brackets, and the question's keys below."
        )
    questions = tuple(_question(item, index, arms, margin) for index, item in enumerate(given))
    ids = [question.id for question in questions]
    for doubled in {item for item in ids if ids.count(item) > 1}:
        raise ConfigError(f"Every question must have an `id` of its own, but `{doubled}` is given twice. Rename one.")
    by_lower = {item.lower(): item for item in ids}
    for item in ids:
        if by_lower[item.lower()] != item:
            raise ConfigError(
                "The ids of two questions must differ in more than case, because they name the files of figures, but "
                f"got `{item}` and `{by_lower[item.lower()]}`. Rename one."
            )
    title = _text(head, "title", "experiment") if "title" in head else name
    return Experiment(name, title, _seeds(head.get("seeds", 10)), margin, arms, questions, _published(head))


def _question(table: Mapping[str, Any], index: int, arms: dict[str, Arm], margin: float) -> Question:
    where = f"question[{index}]"
    _refuse_unknown(table, _QUESTION_KEYS, f"{where}.")
    identity, asks = _text(table, "id", where), _text(table, "asks", where)
    if not _NAME.fullmatch(identity):
        raise ConfigError(f"`{where}.id` must be {_NAME_FORM}, but got `{identity}`. Shorten or rename it.")
    where = f"question.{identity}"
    kind = table.get("kind", "sweep" if "factor" in table else "compare")
    if kind not in ("compare", "sweep"):
        raise ConfigError(one_of(f"`{where}.kind`", ("compare", "sweep"), str(kind)))
    metric = table.get("metric", "test_accuracy")
    if metric not in METRICS:
        raise ConfigError(one_of(f"`{where}.metric`", METRICS, str(metric)))
    own_margin = _margin(table["margin"], f"{where}.margin") if "margin" in table else margin
    own_seeds = _own_seeds(table["seeds"], where) if "seeds" in table else None
    if kind == "sweep":
        names = _sweep_arms(table, where, arms)
        return Question(identity, asks, "sweep", names, metric, own_margin, table["factor"], own_seeds)
    names = _compare_arms(table, where, arms)
    return Question(identity, asks, "compare", names, metric, own_margin, seeds=own_seeds)


def _compare_arms(table: Mapping[str, Any], where: str, arms: dict[str, Arm]) -> tuple[str, ...]:
    for key in ("factor", "values"):
        if key in table:
            raise ConfigError(f'`{where}.{key}` belongs to a sweep. Add `kind = "sweep"`, or give `arms`.')
    given = table.get("arms", {})
    if not isinstance(given, dict) or not given:
        raise ConfigError(
            f"`{where}.arms` must name at least one arm, but {f'got {given!r}' if given else 'there is none'}. "
            'For example: arms.relu = { "model.activation" = "relu" }.'
        )
    together = table.get("together", [])
    if not isinstance(together, list) or not all(_is_list_of_texts(group) for group in together):
        raise ConfigError(
            f"`{where}.together` must be a list of lists of factors, but got {together!r}. "
            'For example: [["train.batch_size", "train.epochs"]].'
        )
    for factor in {factor for group in together for factor in group if not factor.startswith("model.")}:
        _require_factor(arms[CONTROL].recipe, factor, f"{where}.together")
    for name, changes in given.items():
        if not isinstance(changes, dict):
            raise ConfigError(
                f"`{where}.arms.{name}` must be a table of factors, but got {changes!r}. "
                'For example: { "model.activation" = "relu" }.'
            )
        _add_arm(arms, name, _flat(changes), [set(group) for group in together], f"{where}.arms.{name}")
    return tuple(given)


def _sweep_arms(table: Mapping[str, Any], where: str, arms: dict[str, Arm]) -> tuple[str, ...]:
    for key in ("arms", "together"):
        if key in table:
            raise ConfigError(
                f"`{where}.{key}` must be left out of a sweep, which has one `factor` and its `values`. Take it out, "
                "or take out those two."
            )
    factor, values = table.get("factor"), table.get("values")
    if not isinstance(factor, str) or not isinstance(values, list) or len(values) < 2:
        raise ConfigError(
            f"`{where}` is a sweep and must have a `factor` and at least two `values`, but got factor = {factor!r}, "
            f'values = {values!r}. For example: factor = "optim.lr", values = [0.01, 0.1, 1.0].'
        )
    control = arms[CONTROL].recipe
    here = _require_factor(control, factor, f"{where}.factor")
    names = []
    for value in values:
        if value in FINDABLE.values():
            raise ConfigError(f"`{where}.values` must be known beforehand, but got `{value}`. Write it in an arm.")
        if value == ("off" if here is None else here) and isinstance(value, bool) == isinstance(here, bool):
            names.append(CONTROL)
            continue
        key = factor.partition(".")[2].replace("_", "-")
        name = f"{key}-{_shortest(value)}" if isinstance(value, int | float) else f"{value}"
        _add_arm(arms, name, {factor: value}, [], f"{where}.values")
        names.append(name)
    if len(set(names)) < len(names):
        raise ConfigError(f"`{where}.values` must differ from each other, but got {values!r}. Give each once.")
    return tuple(names)


def _require_factor(control: Recipe, factor: str, where: str) -> Value:
    """Return the control's value of a factor, or refuse a name that is none."""
    try:
        return control.factor(factor)
    except ConfigError as error:
        raise ConfigError(f"`{where}` must name factors, but does not: {error}") from None


def _add_arm(arms: dict[str, Arm], name: str, factors: dict[str, Value], together: list[set[str]], where: str) -> None:
    if name in (CONTROL, CONTROL_RETUNED) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"The name of an arm must be {_NAME_FORM}, and not `{CONTROL}` or `{CONTROL_RETUNED}`, but `{where}` names "
            f"`{name}`. Rename it; a sweep names its arms by their values, so write such values as `arms`."
        )
    if not factors:
        raise ConfigError(
            f"An arm must change a factor, but `{where}` changes none. "
            'Name one, for example { "model.activation" = "relu" }.'
        )
    control = arms[CONTROL].recipe
    _require_findable(factors, where)
    _require_trained(factors, control, where)
    try:
        arm = Arm.of(name, factors, control, {})
    except ConfigError as error:
        raise ConfigError(f"`{where}` must be a valid change of the control, but is not: {error}") from None
    _require_change(arm, control, where)
    if len(factors) > 1 and not any(set(factors) <= group for group in together):
        listed = ", ".join(f'"{factor}"' for factor in factors)
        raise ConfigError(
            f"An arm must change one factor, but `{where}` changes {len(factors)}: {listed}. A difference could not be "
            f"put down to either. Split the arm, or declare it on purpose: together = [[{listed}]]."
        )
    if name in arms and arms[name].recipe != arm.recipe:
        raise ConfigError(f"Two arms must not share a name, but `{name}` has two recipes. Rename one.")
    for other in arms:
        if other != name and other.lower() == name.lower():
            raise ConfigError(
                f"The names of two arms must differ in more than case, because they name folders, but got `{other}` "
                f"and `{name}`. Rename one."
            )
    arms[name] = arm


def _require_findable(factors: Mapping[str, Value], where: str) -> None:
    """Refuse words that ask for a value to be found, where there is none to be found or nothing to find it for."""
    for factor, value in factors.items():
        if not isinstance(value, str):
            continue
        if factor in FINDABLE and value != FINDABLE[factor]:
            word = FINDABLE[factor]
            offer = nearest(value, [word])
            raise ConfigError(f'`{where}.{factor}` must be a number or "{word}", but got "{value}".{offer}')
        if factor not in FINDABLE and value in FINDABLE.values():
            home = next(key for key, word in FINDABLE.items() if word == value)
            raise ConfigError(
                f'"{value}" must stand at `{home}`, but `{where}` has it at `{factor}`. Give a value there.'
            )
    if all(factor in FINDABLE and value == FINDABLE[factor] for factor, value in factors.items()):
        raise ConfigError(
            f"An arm must change something besides what is found for it, but `{where}` leaves only "
            f"{named(list(factors))} to be found. Add the factor that is asked about; for rates of the control, ask "
            f'with factor = "{RATE}" and its values.'
        )


def _require_trained(factors: Mapping[str, Value], control: Recipe, where: str) -> None:
    """Refuse to look for rates and epochs of heads that are solved for, and rates taken over from such a head."""
    own, others = factors.get("optim.name", control.optim.name) == _SOLVER, control.optim.name == _SOLVER
    if own and factors.get(RATE) == FINDABLE[RATE]:
        raise ConfigError(
            f'"{FINDABLE[RATE]}" must stand where a network is trained, but `{where}` solves for a head, which has no '
            f"learning rate. Take `{RATE}` out."
        )
    if (own or others) and factors.get(EPOCHS) == FINDABLE[EPOCHS]:
        whose = f"`{where}`" if own else "the control"
        raise ConfigError(
            f'"{FINDABLE[EPOCHS]}" must compare networks that are both trained in epochs, but {whose} solves for a '
            f"head, which has none. Give `{EPOCHS}` a number."
        )
    if others and not own and RATE not in factors:
        raise ConfigError(
            f"An arm that is trained must have a learning rate, but `{where}` has none, and the control, which solves "
            f"for a head, has none to share. Set `{RATE}`, for example to 0.001, or "
            f'to "{FINDABLE[RATE]}".'
        )


def _require_change(arm: Arm, control: Recipe, where: str) -> None:
    """Refuse a factor that has the control's value, and a rate chosen by looking at the test set."""
    for factor in arm.factors:
        if factor not in arm.to_find and arm.recipe.factor(factor) == _or_none(control, factor, arm.factors):
            raise ConfigError(
                f"`{where}` must change what it names, but `{factor}` is {arm.recipe.factor(factor)!r} in the control "
                "too. Remove it, or give another value."
            )
    if arm.is_retuned and "test" in (arm.recipe.data.val, control.data.val):
        raise ConfigError(
            f'`data.val = "test"` must not choose anything, but `{where}` chooses `{RATE}` on val. Give `data.val` a '
            "number of training images, for example 5000."
        )


def _or_none(control: Recipe, factor: str, factors: Mapping[str, Value]) -> Value:
    """The control's value; an option that only another model has is absent from the control, hence changed."""
    if "model.name" in factors and factor.startswith("model."):
        key = factor.partition(".")[2]
        return control.model.model_dump().get(key, "(absent)")  # type: ignore[no-any-return]
    return control.factor(factor)


def _shortest(value: float) -> str:
    """Write a number in six digits where they say it exactly, else in as many as it takes."""
    return f"{value:g}" if float(f"{value:g}") == value else f"{value!r}"


def _flat(changes: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    flat: dict[str, Value] = {}
    for key, value in changes.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _refuse_unknown(
    table: Mapping[str, Any], known: Sequence[str], prefix: str, homes: Mapping[str, str] | None = None
) -> None:
    """Refuse keys that are not known; `homes` tells the table of those that belong elsewhere."""
    for key in table:
        if key not in known:
            home = (homes or {}).get(key)
            hint = nearest(key, known) if home is None else f" It is a key of `[{home}]`: write it below that."
            raise ConfigError(f"Unknown key `{prefix}{key}`.{hint} Known keys: {', '.join(known)}.")


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"`{where}.{key}` must be a text that is not empty, but got {value!r}. Write one.")
    return value


def _margin(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise ConfigError(
            f"`{where}` must be a fraction above 0 and below 1, but got {value!r}. "
            "0.001 is 0.1 percentage points of accuracy: the smallest difference that you would act on."
        )
    return float(value)


def _seeds(value: object) -> tuple[int, ...]:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_SEEDS:
        return tuple(range(value))
    given = value if isinstance(value, list) else []
    are_seeds = all(type(item) is int and item >= 0 for item in given)
    if not given or not are_seeds or len(set(given)) < len(given):
        raise ConfigError(
            f"`experiment.seeds` must be a number from 1 to {_MOST_SEEDS:,}, or a list of different whole numbers, but "
            f"got {value!r}. Use 10 to start with."
        )
    return tuple(given)


def _own_seeds(value: object, where: str) -> int:
    if type(value) is not int or not 1 <= value <= _MOST_SEEDS:
        raise ConfigError(
            f"`{where}.seeds` must be how many of the experiment's seeds its arms are trained with, a whole number "
            f"from 1, but got {value!r}. Take it out for all of them."
        )
    return value


def _published(head: Mapping[str, Any]) -> tuple[float, float] | None:
    value = head.get("published")
    if value is None:
        return None
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(item) in (int, float) for item in value)
    if not is_pair or not 0 <= value[0] < value[1] <= 1:
        raise ConfigError(
            "`experiment.published` must be two fractions, the lowest and the highest published test accuracy, but got "
            f"{value!r}. For example: [0.985, 0.995]."
        )
    return float(value[0]), float(value[1])


_HOMES = {**dict.fromkeys(_EXPERIMENT_KEYS, "experiment"), **dict.fromkeys(Recipe.model_fields, CONTROL)}
"""Keys that may have slipped to the top of the file, and their table."""
