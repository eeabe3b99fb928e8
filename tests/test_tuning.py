"""Values found before the runs: written, refused, resolved, searched for on val, kept, compared and told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus import checks, tuning, verdicts
from paribus.config import OptimConfig
from paribus.errors import ConfigError, StoreError
from paribus.experiment import CONTROL, CONTROL_RETUNED, Experiment, Found, RunSpec
from paribus.report import write_report
from paribus.report.material import Material
from paribus.report.tuning import tuning_tables
from paribus.store import (
    EpochRecord,
    EpochsChoice,
    MadeFor,
    RateChoice,
    Results,
    TriedRate,
    Tuning,
    TuningResult,
    TuningRun,
)
from paribus.testing.synthetic import write_results
from quoted_values import resolve

HEAD = """
[experiment]
name = "fair"
seeds = 4
margin = 0.02
[control]
data = { name = "digits", size = 32, val = 200 }
model = { name = "lenet5" }
optim = { lr = 0.1 }
train = { epochs = 4, batch_size = 128 }
[[question]]
id = "batch"
asks = "Larger batches?"
together = [["train.batch_size", "optim.lr"], ["model.name", "train.epochs", "optim.lr"]]
"""
ARMS = """
arms.b512 = { "train.batch_size" = 512 }
arms.b512-retuned = { "train.batch_size" = 512, "optim.lr" = "retune" }
arms.cnn = { "model.name" = "charcnn", "train.epochs" = "equal-seconds", "optim.lr" = "retune" }
"""
FOUND = {
    CONTROL_RETUNED: {"optim.lr": Found(0.3)},
    "b512-retuned": {"optim.lr": Found(1.0)},
    "cnn": {"optim.lr": Found(0.03, at_edge=True), "train.epochs": Found(2)},
}


def parse(arms: str = ARMS, *settings: str) -> Experiment:
    return Experiment.parse(HEAD + arms, settings)


def test_what_is_to_be_found_stands_at_the_control_and_is_named() -> None:
    experiment = parse()
    assert list(experiment.arms) == [CONTROL, CONTROL_RETUNED, "b512", "b512-retuned", "cnn"]
    cnn = experiment.arms["cnn"]
    assert set(cnn.recipe.unfound) == set(cnn.to_find) == {"optim.lr", "train.epochs"}
    assert (cnn.recipe.optim.lr, cnn.recipe.train.epochs) == (0.1, 4)
    assert [name for name, arm in experiment.arms.items() if arm.is_retuned] == [CONTROL_RETUNED, "b512-retuned", "cnn"]
    assert experiment.arms["b512"].recipe.unfound == experiment.control.unfound == ()


def test_without_a_retuned_arm_the_control_is_not_tuned() -> None:
    arm = 'arms.cnn = { "model.name" = "charcnn", "train.epochs" = "equal-seconds" }\n'
    experiment = parse(arm)
    assert list(experiment.arms) == [CONTROL, "cnn"]
    assert experiment.baseline("cnn") == CONTROL
    assert experiment.resolve({"cnn": {"train.epochs": Found(3)}}).arms["cnn"].recipe.train.epochs == 3


def test_a_recipe_with_something_to_find_cannot_be_trained() -> None:
    experiment = parse()
    with pytest.raises(ConfigError, match=r"A recipe must be complete to be trained, but `optim.lr` of `b512-retuned`"):
        RunSpec("b512-retuned", 0, experiment.arms["b512-retuned"].recipe, "f00d", "torch-1")
    found = experiment.resolve(FOUND)
    assert RunSpec("b512-retuned", 0, found.arms["b512-retuned"].recipe, "f00d", "torch-1").recipe.optim.lr == 1.0


def test_resolving_puts_values_in_and_nothing_else() -> None:
    experiment = parse()
    found = experiment.resolve(FOUND)
    assert found.arms["cnn"].recipe.factor("train.epochs") == 2
    assert found.arms["cnn"].found == FOUND["cnn"]
    assert all(arm.recipe.unfound == () for arm in found.arms.values())
    assert found.resolve({}) == experiment
    assert Experiment.parse(found.to_toml()) == experiment, "the file keeps the words"
    assert '"optim.lr" = "retune"' in found.to_toml() and CONTROL_RETUNED not in found.to_toml()
    partly = experiment.resolve({"cnn": {"train.epochs": Found(2)}})
    assert partly.arms["cnn"].recipe.unfound == ("optim.lr",)
    assert partly.arms["cnn"].recipe.train.epochs == 2


def test_a_main_run_is_the_run_of_the_value_however_it_was_found() -> None:
    found = parse().resolve(FOUND).arms["b512-retuned"].recipe
    written = parse(ARMS.replace('"retune"', "1.0")).arms["b512-retuned"].recipe
    one, other = (RunSpec("b512-retuned", 0, recipe, "f00d", "torch-1") for recipe in (found, written))
    assert one.digest == other.digest
    assert one.digest != dataclasses.replace(one, is_tuning=True).digest


def test_a_retuned_arm_is_compared_with_the_control_at_its_own_best_rate() -> None:
    experiment = parse()
    for known in (experiment, experiment.resolve(FOUND)):
        assert {name: known.baseline(name) for name in known.arms} == {
            CONTROL: CONTROL,
            CONTROL_RETUNED: CONTROL,
            "b512": CONTROL,
            "b512-retuned": CONTROL_RETUNED,
            "cnn": CONTROL_RETUNED,
        }


def test_where_the_control_has_its_best_rate_already_it_is_not_trained_twice() -> None:
    found = parse().resolve({**FOUND, CONTROL_RETUNED: {"optim.lr": Found(0.1)}})
    assert CONTROL_RETUNED not in found.arms
    assert found.baseline("b512-retuned") == CONTROL
    assert list(found.resolve({}).arms) == list(parse().arms)


def test_found_values_must_fit() -> None:
    warm = parse(ARMS, "control.schedule.warmup_epochs=3.0")
    with pytest.raises(
        ConfigError, match=r"What was found for the arm `cnn` must fit its recipe, but does not: .*warmup_ep"
    ):
        warm.resolve(FOUND)


REFUSED = {
    "unknown word": (
        'arms.a = { "optim.lr" = "retuned" }',
        r'`question.batch.arms.a.optim.lr` must be a number or "re',
    ),
    "offer": (
        'arms.a = { "train.epochs" = "equal-second" }',
        r'but got "equal-second". Did you mean `equal-seconds`\?',
    ),
    "retune elsewhere": (
        'arms.a = { "train.batch_size" = "retune" }',
        r'"retune" must stand at `optim.lr`, but `question.batch.arms.a` has it at `train.batch_size`. Give a value',
    ),
    "equal-seconds elsewhere": (
        'arms.a = { "optim.lr" = "equal-seconds" }',
        r'`question.batch.arms.a.optim.lr` must be a number or "retune", but got "equal-seconds"',
    ),
    "nothing else": (
        'arms.a = { "optim.lr" = "retune" }',
        r"An arm must change something besides what is found for it, but `question.batch.arms.a` leaves only `opt",
    ),
    "not together": (
        'arms.a = { "optim.name" = "adam", "optim.lr" = "retune" }',
        r'changes 2: "optim.name", "optim.lr"',
    ),
    "the control's": ('arms.control-retuned = { "optim.lr" = 1.0 }', r"not `control` or `control-retuned`, but"),
}


@pytest.mark.parametrize(("arm", "text"), REFUSED.values(), ids=REFUSED)
def test_nonsense_is_refused(arm: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse(arm)


def test_a_sweep_has_known_values() -> None:
    sweep = '\n[[question]]\nid = "lr"\nasks = "?"\nfactor = "optim.lr"\nvalues = [0.01, "retune"]\n'
    with pytest.raises(ConfigError, match=r"`question.lr.values` must be known beforehand, but got `retune`. Write it"):
        parse(ARMS + sweep)


def test_test_never_chooses_a_rate() -> None:
    with pytest.raises(ConfigError, match=r'`data.val = "test"` must not choose anything, but .* chooses `optim.lr`'):
        parse(ARMS, "control.data.val=test")
    assert parse('arms.b512 = { "train.batch_size" = 512 }', "control.data.val=test").control.data.val == "test"


@pytest.mark.parametrize(
    ("center", "rates"),
    [
        (0.1, [0.01, 0.03, 0.1, 0.3, 1.0]),
        (0.05, [0.005, 0.015, 0.05, 0.15, 0.5]),
        (0.001, [0.0001, 0.0003, 0.001, 0.003, 0.01]),
        (0.123456789123456, [0.0123456789123, 0.0370370367370, 0.123456789123456, 0.370370367370, 1.23456789123]),
    ],
)
def test_the_grid_is_of_round_numbers_around_the_control(center: float, rates: list[float]) -> None:
    assert [tuning.rate(center, step) for step in tuning.GRID] == rates


def tried(scores: dict[int, float]) -> dict[int, TriedRate]:
    return {step: TriedRate(tuning.rate(0.1, step), score, 1.0, 0) for step, score in scores.items()}


def search(score: dict[int, float]) -> dict[int, TriedRate]:
    """Try what is wanted until nothing is, where each step scores what it is said to, 0 elsewhere."""
    seen: dict[int, TriedRate] = {}
    while steps := tuning.wanted(seen):
        seen |= tried({step: score.get(step, 0.0) for step in steps})
    return seen


@given(peak=st.integers(-12, 12))
def test_the_grid_grows_until_the_best_lies_inside_or_the_limit_is_met(peak: int) -> None:
    seen = search({step: 1 - abs(step - peak) / 100 for step in range(-20, 21)})
    choice = tuning.choose(0.1, seen, (10_000,), "torch-1")
    reached = max(-10, min(10, peak))
    assert tuning.best(seen) == reached
    assert choice.at_edge == (abs(peak) > 9)
    assert [each.lr for each in choice.tried] == sorted(each.lr for each in choice.tried)
    assert len(choice.tried) == len(choice.grid) + max(0, min(tuning.MOST_EXTENSIONS, abs(peak) - 1))


def test_ties_go_to_the_lower_loss_then_to_the_lower_rate() -> None:
    seen = tried(dict.fromkeys(tuning.GRID, 0.9))
    assert tuning.best(seen) == -2
    seen[1] = dataclasses.replace(seen[1], val_loss=0.5)
    assert tuning.best(seen) == 1
    seen[0] = dataclasses.replace(seen[0], val_loss=None)
    assert tuning.best(seen) == 1


def run_with(val: tuple[float | None, float | None], status: str = "finished") -> TuningRun:
    record = EpochRecord(1, 5, 0.1, 1.0, 0.5, val[1], val[0], 1.0)
    result = TuningResult("a", 0.1, 10_000, "d", status, "torch-1", 1, 1, 5, 0.1)  # type: ignore[arg-type]
    return TuningRun(Path("somewhere"), result, (record,))


def test_diverged_runs_count_as_nothing_right() -> None:
    seen = tuning.summarise(0.1, [run_with((0.9, 0.2)), run_with((None, None), "diverged")])
    assert (seen.val_accuracy, seen.val_loss, seen.diverged) == (0.45, None, 1)


def test_a_rate_is_chosen_on_val_or_not_at_all() -> None:
    with pytest.raises(ConfigError, match=r"can only be chosen on val, but `somewhere` has no val figures. Give `data"):
        tuning.summarise(0.1, [run_with((None, 0.2))])


@given(seeds=st.lists(st.integers(9_995, 10_010), min_size=1, max_size=12, unique=True))
def test_tuning_seeds_are_not_those_of_the_experiment(seeds: list[int]) -> None:
    chosen = tuning.seeds(dataclasses.replace(parse(), seeds=tuple(seeds)))
    assert len(chosen) == tuning.SEEDS
    assert not set(chosen) & set(seeds)
    assert all(seed in seeds for seed in range(tuning.FIRST_SEED, chosen[-1]) if seed not in chosen)


def keep(results: Results) -> Results:
    """Write into a folder what `FOUND` says, with grids and times that lead there."""
    written = results.experiment.resolve({})
    for name, found in FOUND.items():
        made_for = MadeFor(written.arms[name].recipe.identity(), written.control.identity(), "f00d", None)
        lr = found["optim.lr"]
        rates = sorted({lr.value, *(tuning.rate(0.1, step) for step in tuning.GRID)})
        figures = tuple(TriedRate(rate, 0.5 + 0.4 * (rate == lr.value), 1.0, 0) for rate in rates)
        grid = tuple(tuning.rate(0.1, step) for step in tuning.GRID)
        rate = RateChoice(float(lr.value), lr.at_edge, (10_000, 10_001, 10_002), "synthetic-1", grid, figures)
        epochs = EpochsChoice(2, 4, 0.6, 0.5, 0.3, ((0.3, 0.5),), "synthetic-1", "a processor")
        results.write_tuning(Tuning(name, made_for, epochs if "train.epochs" in found else None, rate))
    return results


def test_a_folder_knows_what_was_found(tmp_path: Path) -> None:
    results = keep(Results.create(tmp_path, parse(), {}))
    assert results.experiment == parse().resolve(FOUND)
    opened = Results.open(tmp_path)
    assert opened.tunings == results.tunings
    assert opened.experiment == results.experiment
    assert "retune" in (tmp_path / "experiment.toml").read_text(encoding="utf-8")
    more = Results(tmp_path, parse(ARMS, "experiment.seeds=20"))
    assert more.experiment.arms == results.experiment.arms
    other = Results(tmp_path, parse(ARMS, "control.train.epochs=5"))
    assert other.tunings == {}
    assert other.experiment.arms["b512-retuned"].recipe.unfound == ("optim.lr",)
    opened.set_tuning_aside("cnn")
    assert set(opened.tunings) == {CONTROL_RETUNED, "b512-retuned"}
    assert len(list(tmp_path.glob("superseded/tuning/cnn-*.json"))) == 1
    opened.set_tuning_aside("cnn")
    assert Results.open(tmp_path).experiment.arms["cnn"].recipe.unfound


def test_a_seed_that_has_chosen_is_not_compared(tmp_path: Path) -> None:
    keep(Results.create(tmp_path, parse(), {}))
    with pytest.raises(
        ConfigError, match=r"A seed must not choose and be compared, but 10001 chose the rate of `contro"
    ):
        Results(tmp_path, parse(ARMS, "experiment.seeds=[0, 10001]"))


def test_a_damaged_choice_is_named(tmp_path: Path) -> None:
    keep(Results.create(tmp_path, parse(), {}))
    path = tmp_path / "tuning" / "cnn.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"ratio"', '"ration"'), encoding="utf-8")
    with pytest.raises(StoreError, match=r"tuning/cnn.json` must hold the keys of this version of paribus"):
        Results.open(tmp_path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(StoreError, match=r"tuning/cnn.json` is damaged and cannot be read"):
        Results.open(tmp_path)


def test_an_arm_without_its_value_has_no_runs(tmp_path: Path) -> None:
    results = Results.create(tmp_path, parse(), {})
    assert results.runs("b512-retuned") == []
    assert verdicts.compute(results)["questions"][0]["comparisons"][1]["control"] == CONTROL_RETUNED


@pytest.fixture
def told(tmp_path: Path) -> Results:
    """A result in which the batch costs accuracy at the shared rate and nothing at rates of their own."""
    found = keep(Results(tmp_path, parse())).experiment
    accuracy = {"control": 0.9, CONTROL_RETUNED: 0.95, "b512": 0.6, "b512-retuned": 0.95, "cnn": 0.97}
    return write_results(tmp_path, found, accuracy, test_examples=800)


def test_verdicts_name_their_baseline_and_use_it(told: Results) -> None:
    entry = verdicts.compute(told)["questions"][0]
    compared = {each["arm"]: each for each in entry["comparisons"]}
    assert {arm: each["control"] for arm, each in compared.items()} == {
        "b512": CONTROL,
        "b512-retuned": CONTROL_RETUNED,
        "cnn": CONTROL_RETUNED,
    }
    runs = {arm: told.runs(arm) for arm in ("b512-retuned", CONTROL_RETUNED)}
    means = {arm: sum(run.result.test_accuracy for run in each) / len(each) for arm, each in runs.items()}
    assert compared["b512-retuned"]["difference"] == pytest.approx(means["b512-retuned"] - means[CONTROL_RETUNED])
    assert compared["b512"]["verdict"] == "worse"


def quoted(results: Results, entry: dict[str, Any], item: dict[str, Any]) -> Any:
    """Look up in the store, or in the question's entry, what an evidence item quotes."""
    head, *path = item["key"].split(".")
    if head == "comparison":
        here: Any = next(each for each in entry["comparisons"] if each["arm"] == item["run"])
    elif head == "tuning":
        here = results.read_json(f"tuning/{item['run']}.json")
    elif head in ("question", "rate_ratio") or head.startswith("decades="):
        return resolve(item, results, entry)
    else:
        return results.experiment.arms[item["run"]].recipe.factor(item["key"])
    for key in path:
        here = here[int(key)] if isinstance(here, list) else here[key]
    return here


def saying(entry: dict[str, Any], words: str) -> dict[str, Any]:
    """The one sentence of a comment that holds these words."""
    found: list[dict[str, Any]] = [each for each in entry["comment"] if words in each["text"]]
    assert len(found) == 1
    return found[0]


def test_the_comment_tells_both_answers_and_where_the_rates_are_from(told: Results) -> None:
    entry = verdicts.compute(told)["questions"][0]
    contrast = saying(entry, "each at its own best rate")
    chosen, epochs = saying(entry, "Each learning rate"), saying(entry, "fit in the time")
    assert chosen["text"] == (
        "Each learning rate is the one of those tried that is best on validation, with 3 seeds that nothing else uses: "
        "1 (90.00 %) for `b512-retuned` out of 5 rates between 0.01 and 1, 0.03 (90.00 %, the edge of what was tried) "
        "for `cnn` out of 5 rates between 0.01 and 1 and 0.3 (90.00 %) for the control out of 5 rates between 0.01 "
        "and 1."
    )
    assert "At the shared rate of 0.1 the difference of `b512` is \u2212" in contrast["text"]
    assert "points (worse); each at its own best rate, it is " in contrast["text"]
    assert epochs["text"] == (
        "2 epochs of `cnn` fit in the time of the control's 4: timed in turn, one epoch took 0.5 s against 0.3 s."
    )
    items = [item for sentence in (chosen, contrast, epochs) for item in sentence["evidence"]]
    assert len(items) == 37
    assert [item for item in items if quoted(told, entry, item) != item["value"]] == []
    assert saying(entry, "`b512-retuned` differs from the retuned control is undecided")["part"] == "answer"


def test_what_does_not_fit_once_is_said(told: Results) -> None:
    known = told.tunings["cnn"]
    assert known.epochs is not None
    told.write_tuning(dataclasses.replace(known, epochs=dataclasses.replace(known.epochs, epochs=1, ratio=0.2)))
    text = saying(verdicts.compute(told)["questions"][0], "Not one epoch")["text"]
    assert text.startswith("Not one epoch of `cnn` fits in the time of the control's 4, so it is given 1 epoch and mor")
    tables = tuning_tables(Material.gather(told, verdicts.compute(told)), told.experiment.questions[0])
    assert [cell.small for cell in tables[1].rows[0]][-1] == "not even one fits"


def test_a_choice_at_the_edge_fires_p008(told: Results) -> None:
    fired = {(each.where, each.message) for each in checks.outcome(told) if each.code == "P008"}
    ((where, message),) = fired
    assert where == "cnn"
    assert message.startswith("The best learning rate on validation, 0.03, is at the edge of what was tried even after")
    found = told.tunings["cnn"]
    assert found.rate is not None
    told.write_tuning(dataclasses.replace(found, rate=dataclasses.replace(found.rate, at_edge=False)))
    assert [each.outcome for each in checks.outcome(told) if each.code == "P008"] == ["passed"]


def test_retuning_is_the_remedy_of_p004() -> None:
    alone = parse('arms.b512 = { "train.batch_size" = 512 }')
    assert [each.where for each in checks.design(alone) if each.code == "P004"] == ["b512"]
    assert [each.outcome for each in checks.design(parse()) if each.code == "P004"] == ["passed"]


def test_the_report_shows_the_grid(told: Results) -> None:
    write_report(told, verdicts.compute(told))
    report = (told.folder / "report.md").read_text(encoding="utf-8")
    assert "mean validation accuracy (%) over the tuning seeds 10000, 10001 and 10002" in report
    assert "| Learning rate | control-retuned | b512-retuned | cnn |" in report
    assert "| 0.3 | 90.00<br>chosen | 50.00 | 50.00 |" in report
    assert "| 0.03 | 50.00 | 50.00 | 90.00<br>chosen, at the edge |" in report
    assert "| cnn | 0.50 s | 0.30 s | 4 | 2 |" in report or "| cnn | 0.5 s | 0.3 s | 4 | 2 |" in report
    assert "optim.lr: 0.1 \u2192 1 (retune)" in report
    assert "b512-retuned<br>against control-retuned" in report


BESIDE_A_HEAD = """
[experiment]
name = "photos"
seeds = 4
margin = 0.02
[control]
data = { name = "photos", test = 0.2, size = 64 }
model = { name = "pretrained", weights = "hub", backbone = "resnet18" }
optim = { name = "lbfgs" }
train = { epochs = 1 }
[[question]]
id = "approach"
asks = "Fine-tuning?"
together = [["model.train", "optim.name", "optim.lr", "train.epochs"]]
arms.tuned = { "model.train" = "all", "optim.name" = "adamw", "optim.lr" = "retune", "train.epochs" = 5 }
"""


def test_beside_a_head_that_is_solved_for_only_the_arm_is_tuned() -> None:
    experiment = Experiment.parse(BESIDE_A_HEAD)
    assert list(experiment.arms) == [CONTROL, "tuned"]
    assert experiment.arms["tuned"].recipe.unfound == ("optim.lr",)
    assert experiment.baseline("tuned") == CONTROL
    found = experiment.resolve({"tuned": {"optim.lr": Found(0.0003)}})
    assert (found.arms["tuned"].recipe.optim.lr, found.baseline("tuned")) == (0.0003, CONTROL)
    assert found.resolve({}) == experiment
    assert Experiment.parse(found.to_toml()) == experiment


@pytest.mark.parametrize(("name", "usual"), [("adamw", 0.001), ("sgd", 0.01)])
def test_its_grid_is_centred_at_the_usual_rate_of_its_optimiser(name: str, usual: float) -> None:
    arm = Experiment.parse(BESIDE_A_HEAD.replace("adamw", name)).arms["tuned"]
    assert tuning.center(arm, Experiment.parse(BESIDE_A_HEAD).control) == usual
    assert tuning.center(arm, parse().control) == 0.1, "a control that is trained has a rate"


def test_every_optimiser_that_trains_has_a_usual_rate() -> None:
    names = set(get_args(OptimConfig.model_fields["name"].annotation))
    assert set(tuning.USUAL_RATES) == names - {"lbfgs"}


NOTHING_TO_FIND = {
    "a head's rate": ('"model.strength" = 0.1, "optim.lr" = "retune"', "which has no learning"),
    "a head's epochs": ('"model.strength" = 0.1, "train.epochs" = "equal-seconds"', "arms.tuned` solves for a head"),
    "epochs beside a head": (
        '"model.train" = "all", "optim.name" = "sgd", "optim.lr" = 0.1, "train.epochs" = "equal-seconds"',
        "but the control solves for a head, which has none. Give `train.epochs` a number",
    ),
    "no rate at all": (
        '"model.train" = "all", "optim.name" = "sgd", "train.epochs" = 5',
        r'has none to share. Set `optim.lr`, for example to 0.001, or to "retune"',
    ),
}


@pytest.mark.parametrize("name", NOTHING_TO_FIND)
def test_what_a_head_does_not_have_is_not_looked_for(name: str) -> None:
    factors, text = NOTHING_TO_FIND[name]
    lines = BESIDE_A_HEAD.splitlines()
    lines[-1] = f"arms.tuned = {{ {factors} }}"
    with pytest.raises(ConfigError, match=text):
        Experiment.parse("\n".join(lines))


def test_a_head_beside_a_network_is_not_retuned() -> None:
    arm = """
together = [["model.name", "model.weights", "model.backbone", "optim.name", "optim.lr"]]
arms.head = { "model.name" = "pretrained", "model.weights" = "hub", "model.backbone" = "resnet18", \
"optim.name" = "lbfgs", "optim.lr" = "retune" }
"""
    head = HEAD.partition("together")[0]
    with pytest.raises(ConfigError, match=r'"retune" must stand where a network is trained, but `.*head` solves for'):
        Experiment.parse(head + arm)
