"""Experiments: the one-factor rule, sweeps, settings, round trips, and every refusal in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus import experiments
from paribus.errors import ConfigError
from paribus.experiment import CONTROL, CONTROL_RETUNED, Experiment, RunSpec

HEAD = '[experiment]\nname = "small"\nseeds = 3\nmargin = 0.01\n'
CONTROL_TABLE = """
[control]
data = { name = "digits" }
model = { name = "lenet5" }
optim = { lr = 0.1 }
train = { epochs = 3 }
"""
QUESTION = '\n[[question]]\nid = "q"\nasks = "What happens?"\n'


def parse(question: str = "", *settings: str, head: str = HEAD) -> Experiment:
    return Experiment.parse(head + CONTROL_TABLE + (QUESTION + question if question else ""), settings)


def test_the_smallest_experiment_is_a_control() -> None:
    experiment = parse()
    assert list(experiment.arms) == [CONTROL]
    assert experiment.title == "small"
    assert experiment.seeds == (0, 1, 2)
    assert experiment.questions == ()
    assert experiment.published is None
    assert experiment.control.train.epochs == 3


def test_an_arm_is_the_control_with_its_factors() -> None:
    experiment = parse('arms.relu = { "model.activation" = "relu" }')
    arm = experiment.arms["relu"]
    assert arm.factors == {"model.activation": "relu"}
    assert arm.recipe == experiment.control.with_factors({"model.activation": "relu"})
    assert experiment.questions[0].arms == ("relu",)


@pytest.mark.parametrize("arm", ['arms.relu.model.activation = "relu"', 'arms.relu."model.activation" = "relu"'])
def test_factors_may_be_written_as_nested_tables(arm: str) -> None:
    assert parse(arm) == parse('arms.relu = { "model.activation" = "relu" }')


def test_two_factors_are_an_arm_when_declared_together() -> None:
    factors = '{ "model.activation" = "relu", "model.pooling" = "max" }'
    experiment = parse(f'arms.both = {factors}\ntogether = [["model.pooling", "model.activation"]]')
    assert dict(experiment.arms["both"].factors) == {"model.activation": "relu", "model.pooling": "max"}


def test_an_option_that_only_the_other_model_has_is_a_change() -> None:
    factors = '{ "model.name" = "charcnn", "model.width" = 32 }'
    experiment = parse(f'arms.cnn = {factors}\ntogether = [["model.name", "model.width"]]')
    assert experiment.arms["cnn"].recipe.model.options["width"] == 32


def test_two_questions_may_share_an_arm() -> None:
    arm = 'arms.relu = { "model.activation" = "relu" }\n'
    other = '\n[[question]]\nid = "again"\nasks = "And the loss?"\nmetric = "test_loss"\nmargin = 0.05\n'
    experiment = parse(arm + other + arm)
    assert list(experiment.arms) == [CONTROL, "relu"]
    assert [(question.metric, question.margin) for question in experiment.questions] == [
        ("test_accuracy", 0.01),
        ("test_loss", 0.05),
    ]


def test_a_sweep_names_its_arms_and_takes_the_control_in() -> None:
    experiment = parse('factor = "optim.lr"\nvalues = [0.001, 0.1, 1.0]')
    assert experiment.questions[0].kind == "sweep"
    assert experiment.questions[0].arms == ("lr-0.001", CONTROL, "lr-1")
    assert experiment.arms["lr-0.001"].recipe.optim.lr == 0.001


def test_a_sweep_over_words_and_off() -> None:
    assert parse('factor = "model.activation"\nvalues = ["relu", "tanh"]').questions[0].arms == ("relu", CONTROL)
    experiment = parse('factor = "train.patience"\nvalues = ["off", 3]')
    assert experiment.questions[0].arms == (CONTROL, "patience-3")
    assert Experiment.parse(experiment.to_toml()) == experiment
    patient = parse('factor = "train.patience"\nvalues = ["off", 3]', "control.train.patience=3")
    assert patient.questions[0].arms == ("off", CONTROL)
    assert patient.arms["off"].recipe.train.patience is None
    assert Experiment.parse(patient.to_toml()) == patient


REFUSED_QUESTIONS = {
    "unknown key": ("arm.relu = 1", r"Unknown key `question\[0\].arm`. Did you mean `arms`\? Known keys: id, asks,"),
    "no arms": (
        "arms = {}",
        r"`question.q.arms` must name at least one arm, but there is none. For example: arms.relu",
    ),
    "nothing asked for": ('kind = "compare"', r"`question.q.arms` must name at least one arm"),
    "arm that is no table": ("arms.relu = 1", r"`question.q.arms.relu` must be a table of factors, but got 1."),
    "arm without factors": ("arms.relu = {}", r"An arm must change a factor, but `question.q.arms.relu` changes none."),
    "arm like the control": (
        'arms.a = { "model.activation" = "tanh" }',
        r"must change what it names, but `model.activation` is 'tanh' in the control too. Remove it",
    ),
    "two factors": (
        'arms.a = { "model.activation" = "relu", "model.pooling" = "max" }',
        r"An arm must change one factor, but `question.q.arms.a` changes 2: .* A difference could not be put down to "
        r'either. Split the arm, or declare it on purpose: together = \[\["model.activation", "model.pooling"\]\]',
    ),
    "two factors, others declared": (
        'arms.a = { "optim.lr" = 1, "train.epochs" = 9 }\ntogether = [["optim.lr", "train.batch_size"]]',
        r"An arm must change one factor, but `question.q.arms.a` changes 2",
    ),
    "unknown factor": ('arms.a = { "optim.lrate" = 1 }', r"Unknown key `optim.lrate`. Keys of `optim`: name, lr"),
    "value out of range": (
        'arms.a = { "train.epochs" = 0 }',
        r"`question.q.arms.a` must be a valid change of the control, but is not: `train.epochs` must be at least 1",
    ),
    "value of an option": (
        'arms.a = { "model.activation" = "rleu" }',
        r"`question.q.arms.a` must be .*: `model.activation` must be tanh, .* but got 'rleu'. Did you mean `relu`\?",
    ),
    "names that differ in case": (
        'arms.big = { "optim.lr" = 1 }\narms.BIG = { "optim.lr" = 2 }',
        r"names of two arms must differ in more than case, because they name folders, but got `big` and `BIG`.",
    ),
    "ids that differ in case": (
        'arms.a = { "optim.lr" = 1 }\n[[question]]\nid = "Q"\nasks = "Again?"\narms.a = { "optim.lr" = 1 }',
        r"The ids of two questions must differ in more than case, because they name the files of figures, but got `q` "
        r"and `Q`\. Rename one\.",
    ),
    "sweep over lists": (
        'factor = "optim.betas"\nvalues = [[0.9, 0.9], [0.8, 0.9]]',
        r"name of an arm must be .* but `question.q.values` names `\[0.9, 0.9\]`. .* write such values as `arms`.",
    ),
    "arm called control": (
        'arms.control = { "optim.lr" = 1 }',
        r"name of an arm must be .* not `control` or `control-retuned`, but `question.q.arms.control` na",
    ),
    "arm with a slash": ('arms."a/b" = { "optim.lr" = 1 }', r"The name of an arm must be letters, .* names `a/b`"),
    "arm that climbs": ('arms.".." = { "optim.lr" = 1 }', r"The name of an arm must be letters, .* names `..`"),
    "together flat": (
        'arms.a = { "optim.lr" = 1 }\ntogether = ["optim.lr"]',
        r"must be a list of lists of factors, but",
    ),
    "together of lists": ('arms.a = { "optim.lr" = 1 }\ntogether = [[["optim.lr"]]]', r"a list of lists of factors"),
    "unknown kind": (
        'kind = "swep"\nfactor = "optim.lr"',
        r"must be one of compare, sweep, but got `swep`. Did .* `sweep`\?",
    ),
    "values of a comparison": (
        'kind = "compare"\nvalues = [1, 2]',
        r'`question.q.values` belongs to a sweep. Add `kind = "sweep"`, or give `arms`.',
    ),
    "arms of a sweep": (
        'factor = "optim.lr"\nvalues = [1, 2]\narms.a = { "optim.lr" = 1 }',
        r"`question.q.arms` must be left out of a sweep, which has one `factor` and its `values`.",
    ),
    "sweep over nothing": (
        'kind = "sweep"',
        r"is a sweep and must have a `factor` and at least two `values`, but got factor = None",
    ),
    "sweep over one": ('factor = "optim.lr"\nvalues = [1]', r"at least two `values`, but got .* values = \[1\]"),
    "sweep twice over one": (
        'factor = "optim.lr"\nvalues = [1, 1.0]',
        r"`question.q.values` must differ from each oth",
    ),
    "unknown metric": (
        'metric = "accuracy"\narms.a = {}',
        r"must be one of test_accuracy, test_loss, but got `accuracy`",
    ),
    "margin of nothing": ("margin = 0\narms.a = {}", r"`question.q.margin` must be a fraction above 0 and below 1"),
}


@pytest.mark.parametrize(("question", "text"), REFUSED_QUESTIONS.values(), ids=REFUSED_QUESTIONS)
def test_questions_that_cannot_be_fair_or_understood(question: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse(question)


def test_two_recipes_do_not_share_a_name() -> None:
    other = '\n[[question]]\nid = "again"\nasks = "?"\narms.a = { "optim.lr" = 2 }\n'
    with pytest.raises(ConfigError, match=r"Two arms must not share a name, but `a` has two recipes. Rename one."):
        parse('arms.a = { "optim.lr" = 1 }\n' + other)


def test_two_questions_do_not_share_an_id() -> None:
    arm = 'arms.a = { "optim.lr" = 1 }\n'
    with pytest.raises(ConfigError, match=r"Every question must have an `id` of its own, but `q` is given twice."):
        parse(arm + QUESTION + arm)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ('asks = "?"', r"`question\[0\].id` must be a text that is not empty, but got None."),
        ('id = " "\nasks = "?"', r"`question\[0\].id` must be a text that is not empty, but got ' '."),
        ('id = "a b"\nasks = "?"', r"`question\[0\].id` must be letters, digits, .* but got `a b`."),
        ('id = "a"', r"`question\[0\].asks` must be a text that is not empty, but got None."),
    ],
)
def test_a_question_has_an_id_and_a_text(table: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Experiment.parse(f"{HEAD}{CONTROL_TABLE}\n[[question]]\n{table}\n")


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("", r"An experiment must have a table `\[experiment\]`, but there is none. Add it."),
        ("experiment = 1\n", r"`experiment` must be one table, but got 1. Write `\[experiment\]`, in single brackets"),
        ("[experiment]\nmargin = 0.1\n", r"`experiment.name` must be a text that is not empty, but got None."),
        ('[experiment]\nname = "a/b"\n', r"`experiment.name` must be letters, .*, but got `a/b`."),
        ('[experiment]\nname = "a"\n', r"`experiment.margin` must be a fraction above 0 and below 1, but got None."),
        (HEAD + "titel = 1\n", r"Unknown key `experiment.titel`. Did you mean `title`\?"),
        (HEAD + "title = 1\n", r"`experiment.title` must be a text that is not empty, but got 1."),
        (HEAD + "published = [0.9]\n", r"`experiment.published` must be two fractions, .* but got \[0.9\]."),
        (HEAD + "published = [0.9, 0.8]\n", r"`experiment.published` must be two fractions"),
        (HEAD + "published = [98, 99]\n", r"`experiment.published` must be two fractions"),
        (
            HEAD + "[controls]\n",
            r"Unknown key `controls`. Did you mean `control`\? Known keys: experiment, control, que",
        ),
        (
            HEAD + "[question]\n",
            r"Questions must be written as `\[\[question\]\]` tables, but .* Write double brackets",
        ),
    ],
)
def test_heads_that_are_wrong(head: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse(head=head)


def test_there_is_no_experiment_without_a_control() -> None:
    with pytest.raises(ConfigError, match=r"An experiment must have a table `\[control\]`, but there is none."):
        Experiment.parse(HEAD)


@pytest.mark.parametrize(
    "seeds", ["0", "-1", "1000000000", "[]", "[0, 0]", "[0, -1]", "[0.5]", "true", '"ten"', "[true]"]
)
def test_seeds_are_a_number_or_different_whole_numbers(seeds: str) -> None:
    with pytest.raises(ConfigError, match=r"`experiment.seeds` must be a number from 1 to 10,000, or a list .* Use 10"):
        parse("", f"experiment.seeds={seeds}")


def test_seeds_may_be_chosen() -> None:
    assert parse("", "experiment.seeds=[7, 3]").seeds == (7, 3)
    assert len(parse(head='[experiment]\nname = "a"\nmargin = 0.1\n').seeds) == 10


EXPENSIVE = 'seeds = 2\narms.relu = { "model.activation" = "relu" }\n'


def test_a_question_may_train_its_arms_with_fewer_seeds() -> None:
    experiment = parse(EXPENSIVE)
    assert experiment.seeds_of("relu") == (0, 1)
    assert experiment.seeds_of(CONTROL) == (0, 1, 2)
    assert parse(EXPENSIVE, "experiment.seeds=1").seeds_of("relu") == (0,)
    assert parse(EXPENSIVE, "question.q.seeds=3").seeds_of("relu") == (0, 1, 2)


def test_an_arm_of_two_questions_has_the_more_seeds() -> None:
    again = EXPENSIVE + '\n[[question]]\nid = "r"\nasks = "Again?"\narms.relu = { "model.activation" = "relu" }\n'
    assert parse(again).seeds_of("relu") == (0, 1, 2)


@pytest.mark.parametrize("seeds", ["0", "2.5", "true", '"two"', "[0, 1]"])
def test_seeds_of_a_question_are_a_number(seeds: str) -> None:
    with pytest.raises(ConfigError, match="how many of the experiment's seeds its arms are trained with"):
        parse(f'seeds = {seeds}\narms.relu = {{ "model.activation" = "relu" }}\n')


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("question.seeds=3", r"A question must be one of q, but got `seeds`\. Write `question.ID.KEY=VALUE`"),
        ("question.p.seeds=3", r"A question must be one of q, but got `p`\. Write `question.ID.KEY=VALUE`"),
        ("question.q2.seeds=3", r"A question must be one of q, but got `q2`\. Did you mean `q`\?"),
        ("question.q=3", r"A setting of a question must name a key of it, but got `question.q`\. Write `question.ID"),
    ],
)
def test_settings_of_a_question_must_name_one(setting: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse(EXPENSIVE, setting)


DOTTED = "".join(
    f'\n[[question]]\nid = "{identity}"\nasks = "?"\narms.relu = {{ "model.activation" = "relu" }}\n'
    for identity in ("v1", "v1.0", "v1.seeds")
)


@pytest.mark.parametrize(
    ("setting", "seeds"),
    [
        ("question.v1.seeds=2", [2, None, None]),
        ("question.v1.0.seeds=2", [None, 2, None]),
        ("question.v1.seeds.seeds=2", [None, None, 2]),
    ],
)
def test_ids_with_dots_may_be_set(setting: str, seeds: list[int | None]) -> None:
    questions = parse(EXPENSIVE + DOTTED, setting).questions
    assert [question.id for question in questions] == ["q", "v1", "v1.0", "v1.seeds"]
    assert [question.seeds for question in questions[1:]] == seeds


def test_a_setting_within_a_question_whose_id_has_dots() -> None:
    changed = parse(EXPENSIVE + DOTTED, "question.v1.0.arms.new.optim.lr=3")
    assert changed.questions[2].arms == ("relu", "new") and changed.arms["new"].recipe.optim.lr == 3


@pytest.mark.parametrize("margin", ["0", "1", "-0.1", "true", '"small"'])
def test_the_margin_is_a_fraction(margin: str) -> None:
    with pytest.raises(ConfigError, match=r"must be a fraction above 0 and below 1, .* 0.001 is 0.1 percentage points"):
        parse("", f"experiment.margin={margin}")


def test_published_is_a_pair() -> None:
    assert parse("", "experiment.published=[0.9, 1]").published == (0.9, 1.0)


@pytest.mark.parametrize(
    ("setting", "factor", "value"),
    [
        ("control.train.epochs=5", "train.epochs", 5),
        ("control.model.activation=relu", "model.activation", "relu"),
        ('control.model.activation="relu"', "model.activation", "relu"),
        ("control.data.val = 0.2", "data.val", 0.2),
        ("control.augment.hflip=true", "augment.hflip", True),
        ("control.data.val=off", "data.val", None),
        ("control.optim.weight_decay=5e-4", "optim.weight_decay", 0.0005),
    ],
)
def test_settings_replace_what_the_file_says(setting: str, factor: str, value: object) -> None:
    assert parse("", setting).control.factor(factor) == value


def test_the_last_setting_counts_and_every_arm_follows() -> None:
    experiment = parse(
        'arms.relu = { "model.activation" = "relu" }', "control.train.epochs=5", "control.train.epochs=7"
    )
    assert experiment.arms["relu"].recipe.train.epochs == 7


@pytest.mark.parametrize("setting", ["epochs=5", "train.epochs=5", "control.train.epochs", "control=5", "=5"])
def test_settings_must_name_a_key(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"must be written `control.TABLE.KEY=VALUE`, .* For example: `--set control"):
        parse("", setting)


def test_settings_below_a_value_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"`control.model.name.x` must lie in a table, but `name` is 'lenet5'."):
        parse("", "control.model.name.x=1")


def test_settings_with_an_unknown_key_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Unknown key `control.train.epoch`. Did you mean `epochs`\?"):
        parse("", "control.train.epoch=5")


def test_files_are_read_and_named_when_they_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    with pytest.raises(ConfigError, match=r"An experiment file must exist, but `.*small.toml` does not. Correct"):
        Experiment.load(path)
    path.write_text(HEAD + CONTROL_TABLE)
    assert Experiment.load(path, ["experiment.seeds=1"]).seeds == (0,)
    path.write_text("[experiment\n")
    with pytest.raises(ConfigError, match=r"`.*small.toml` must be valid TOML, but it is not: .*line 1"):
        Experiment.load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"An experiment file must be readable text, but `.*small.toml` is not"):
        Experiment.load(path)
    with pytest.raises(ConfigError, match=r"An experiment must be a TOML file, but `.*` is a folder. Give the file"):
        Experiment.load(tmp_path)


def test_a_file_may_begin_with_the_mark_of_windows_editors(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(HEAD + CONTROL_TABLE, encoding="utf-8-sig")
    assert Experiment.load(path) == Experiment.parse(HEAD + CONTROL_TABLE)


def test_values_of_a_sweep_that_are_close_have_names_of_their_own() -> None:
    experiment = parse('factor = "optim.lr"\nvalues = [0.12345678, 0.12345679, 0.001]')
    assert experiment.questions[0].arms == ("lr-0.12345678", "lr-0.12345679", "lr-0.001")


@given(
    epochs=st.integers(1, 200),
    values=st.lists(st.sampled_from([0.001, 0.01, 0.1, 1.0, 10.0]), min_size=2, max_size=5, unique=True),
    pooling=st.sampled_from(["max", "stride"]),
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True),
    published=st.one_of(st.none(), st.just((0.5, 0.75))),
)
def test_every_experiment_goes_through_toml_and_back(
    epochs: int, values: list[float], pooling: str, seeds: list[int], published: Any
) -> None:
    sweep = f'\n[[question]]\nid = "lr"\nasks = "?"\nfactor = "optim.lr"\nvalues = {values}\n'
    arms = f'arms.p = {{ "model.pooling" = "{pooling}", "train.patience" = 4 }}\n'
    questions = arms + 'together = [["train.patience", "model.pooling"]]\n' + sweep
    experiment = parse(questions, f"control.train.epochs={epochs}", f"experiment.seeds={seeds}")
    experiment = dataclasses.replace(experiment, published=published)
    assert Experiment.parse(experiment.to_toml()) == experiment


def test_a_class_of_the_user_keeps_what_is_off_through_toml() -> None:
    experiment = parse(
        'arms.deep = { "model.depth" = 9 }\narms.bare = { "model.width" = "off" }',
        *("control.model.name=net.py:Net", "control.model.norm=off", "control.model.width=4"),
    )
    assert experiment.control.model.options == {"norm": None, "width": 4}
    assert experiment.arms["bare"].recipe.model.options == {"norm": None, "width": None}
    assert Experiment.parse(experiment.to_toml()) == experiment


def test_the_toml_is_complete() -> None:
    text = parse('arms.relu = { "model.activation" = "relu" }').to_toml()
    for line in ("batch_size = 128", 'kind = "compare"', 'metric = "test_accuracy"', 'activation = "tanh"'):
        assert line in text


def spec(**changes: Any) -> RunSpec:
    base = RunSpec("control", 0, parse().control, "f00d", "torch-1")
    return dataclasses.replace(base, **changes)


def test_the_digest_holds_all_that_decides_a_result_and_nothing_else() -> None:
    assert spec().digest == spec(arm="another name").digest
    others = [
        spec(seed=1),
        spec(recipe=parse("", "control.optim.lr=0.2").control),
        spec(data_fingerprint="beef"),
        spec(engine="torch-2"),
        spec(model_code="abc"),
    ]
    assert len({each.digest for each in [spec(), *others]}) == 6


def test_the_digest_never_changes() -> None:
    """Runs in result folders are recognised by it."""
    assert spec().digest[:16] == GOLDEN_DIGEST


def test_a_key_that_came_later_counts_only_where_it_is_set() -> None:
    plain = spec()
    ordered = dataclasses.replace(plain, recipe=plain.recipe.with_factors({"train.shuffle": False}))
    assert ordered.digest != plain.digest


@pytest.mark.parametrize("name", [name for name in experiments.names() if name.startswith("lenet-")])
def test_shipped_experiments_ask_everything(name: str) -> None:
    experiment = Experiment.load(experiments.find(name))
    assert experiment.name == name
    asked = {question.id: question for question in experiment.questions}
    assert {"relu", "max-pooling", "both", "batch-size", "many-epochs", "learning-rate", "optimiser"} <= set(asked)
    rates = [experiment.arms[arm].recipe.optim.lr for arm in asked["learning-rate"].arms]
    assert len(rates) >= 5
    assert max(rates) >= 1000 * min(rates)
    assert {"momentum", "momentum-retuned", "adam-retuned"} <= set(asked["optimiser"].arms)
    assert {arm.recipe.train.batch_size for arm in experiment.arms.values()} >= {128, 512}
    assert experiment.arms["epochs-100"].recipe.train.epochs == 100
    assert experiment.control.data.val != "test"


def test_same_steps_means_the_same_number_of_updates() -> None:
    for name, arm in (("lenet-mnist", "b512"), ("lenet-dhcd", "b512"), ("lenet-digits", "b128")):
        experiment = Experiment.load(experiments.find(name))
        control, same = experiment.control.train, experiment.arms[f"{arm}-same-steps"].recipe.train
        assert same.epochs / same.batch_size == control.epochs / control.batch_size
        retuned = experiment.arms[f"{arm}-retuned"]
        assert retuned.is_retuned and experiment.baseline(retuned.name) == CONTROL_RETUNED
        assert retuned.recipe.train.batch_size == same.batch_size == 4 * control.batch_size


def test_experiments_are_found_by_name_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert experiments.find("lenet-digits").read_text().startswith("# LeNet-5")
    assert experiments.find("mine.toml") == Path("mine.toml")
    assert experiments.find("folder/mine") == Path("folder/mine")
    monkeypatch.chdir(tmp_path)
    Path("mine").write_text("")
    assert experiments.find("mine") == Path("mine")
    text = r"must be one of dogs-vs-cats, .* or the path of a TOML file, but got `lenet-digit`. Did .*-digits`\?"
    with pytest.raises(ConfigError, match=text):
        experiments.find("lenet-digit")


GOLDEN_DIGEST = "3c0ba8573d2a36a8"
