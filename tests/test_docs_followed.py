"""The pages that teach, followed to the letter on small data: files written, commands run, their output compared."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

import doc_blocks
from paribus import checks, experiments, verdicts
from paribus.checks import CHECKS
from paribus.cli import main
from paribus.config import OptimConfig
from paribus.data import load_data
from paribus.data.table import COLUMNS
from paribus.errors import ConfigError, WeightsError
from paribus.experiment import Experiment, reading
from paribus.testing.synthetic import write_results
from paribus.transfer import find_weights
from paribus.transfer.weights import _Sidecar
from test_surface import commands_in

DOCS = Path(__file__).parents[1] / "docs"
NEEDED = {"name": "sgd", "lr": 0.1, "weights": "somewhere.json", "epochs": 5}
SMALL = [
    "experiment.seeds=2",
    "control.data.name=digits",
    "control.data.val=200",
    "control.data.size=28",
    "control.train.epochs=1",
]


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def output_of(*command: str) -> tuple[int, str]:
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        status = main(list(command))
    return status, "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def test_the_experiment_of_the_tutorial_is_the_one_whose_results_it_quotes() -> None:
    written = Experiment.parse("\n".join(fenced(page("tutorial"), "toml")))
    shipped = Experiment.load(experiments.find("lenet-mnist"))
    assert written.arms == shipped.arms
    assert written.questions == shipped.questions
    assert (written.seeds, written.margin, written.published) == (shipped.seeds, shipped.margin, shipped.published)


def test_the_trial_of_the_tutorial_is_short_for_every_arm() -> None:
    (line,) = [each for each in commands_in(page("tutorial")) if "results/trial" in each]
    settings = [line[place + 1] for place, word in enumerate(line) if word == "--set"]
    trial = Experiment.parse("\n".join(fenced(page("tutorial"), "toml")), settings)
    assert len(trial.seeds) == 2
    assert {arm.recipe.train.epochs for arm in trial.arms.values()} == {1, 4, 5}
    assert trial.arms["b512-same-steps"].factors == {"train.batch_size": 512, "train.epochs": 4}
    assert not [each for each in checks.design(trial) if (each.code, each.where) == ("P005", "b512")]


@pytest.mark.slow
def test_the_tutorial_can_be_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With digits for MNIST, fewer seeds, epochs and questions, and no arm that looks for a rate."""
    monkeypatch.chdir(tmp_path)
    head, *questions = fenced(page("tutorial"), "toml")
    lines = "\n".join([head, *(each for each in questions if 'id   = "batch-size"' in each)]).splitlines()
    text = "\n".join(line for line in lines if not line.endswith('"retune" }'))
    Path("my-mnist.toml").write_text(text.replace("epochs = 80", "epochs = 4"), encoding="utf-8")
    statuses = {}
    for line in commands_in(page("tutorial")):
        given = line[1:]
        if line[0] != "paribus":
            continue
        if "--out" in given:  # A trial, and what was handed in: the same was just run.
            assert Path(given[1]).is_file()
            continue
        if "my-mnist.toml" in given:
            given += [part for setting in SMALL for part in ("--set", setting)]
        statuses[" ".join(line[1:3])] = output_of(*given)[0]
    assert statuses == {
        "check my-mnist.toml": 0,
        "plan my-mnist.toml": 0,
        "run my-mnist.toml": 0,
        "report results/my-mnist": 0,
        "check results/my-mnist": 0,
        "gate results/my-mnist": 3,  # In so short a training no verdict is among those expected.
    }
    again = Experiment.load("results/my-mnist/experiment.toml")
    assert list(again.arms) == ["control", "b512", "b512-same-steps"]
    handed_in = re.findall(r"^\| `([\w./]+)` \|", page("tutorial"), re.MULTILINE)
    assert len(handed_in) == 6
    assert [name for name in handed_in if not (Path("results/my-mnist") / name).exists()] == []


def test_a_model_of_ones_own_and_the_mistake_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page("how-to/own-model")
    net, mistake, suite = fenced(text, "python")
    Path("net.py").write_text(net, encoding="utf-8")
    (toml,) = fenced(text, "toml")
    Path("my-net.toml").write_text(toml, encoding="utf-8")
    assert output_of("check", "my-net.toml") == (0, "No check fires.")
    exec(compile(suite, "suite", "exec"), {})
    Path("net.py").write_text(re.sub(r"    def forward.*", lambda _: mistake, net, flags=re.DOTALL), encoding="utf-8")
    status, printed = output_of("check", "my-net.toml")
    assert (status, printed) == (2, fenced(text, "text")[0].rstrip())


def test_a_lesson_and_a_class_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With short trainings; Eva's two mistakes are found one after the other, as the page says."""
    monkeypatch.chdir(tmp_path)
    text = page("how-to/teach")
    class_file, late = fenced(text, "toml")
    Path("class.toml").write_text(class_file.replace("epochs = 15", "epochs = 1"), encoding="utf-8")
    Path("students").mkdir()
    for name, code in zip(("dora", "eva"), fenced(text, "python"), strict=True):
        Path(f"students/{name}.py").write_text(code, encoding="utf-8")
    status, printed = output_of("check", "class.toml")
    assert (status, re.findall(r"^(P\d+) +error +(\S+)", printed, re.MULTILINE)) == (2, [("P035", "eva")])
    eva = Path("students/eva.py")
    eva.write_text(eva.read_text(encoding="utf-8").replace("32 * 32", "28 * 28"), encoding="utf-8")
    status, printed = output_of("check", "class.toml")
    assert (status, re.findall(r"^(P\d+) +error +(\S+)", printed, re.MULTILINE)) == (2, [("P024", "eva")])
    assert re.search(r"^P005 +warning +cem ", printed, re.MULTILINE)
    eva.write_text(eva.read_text(encoding="utf-8").replace(".softmax(1)", ""), encoding="utf-8")
    lines = [line for line in commands_in(text) if line != ["paribus", "check", "class.toml"]]
    assert [line[1] for line in lines] == ["run", "plan", "run", "report", "gate"]
    for line in lines:
        short = ["--set", "experiment.seeds=1"] if line[1:] == ["run", "class.toml"] else []
        assert output_of(*line[1:], *short)[0] == 0, line
        if "results/one-seed" in line:
            one = json.loads(Path("results/one-seed/verdicts.json").read_text(encoding="utf-8"))
            assert {each["verdict"] for asked in one["questions"] for each in asked["comparisons"]} == {"undecided"}
            shutil.copytree("results/one-seed", "results/our-class")  # What follows trains nothing anew.
    with_gus = Experiment.parse(class_file.replace("arms.cem", f"{late}arms.cem"))
    assert with_gus.arms["gus"].factors == {"optim.name": "adam", "optim.lr": 0.001}
    two = class_file.replace('"model.pooling" = "max"', '"model.pooling" = "max", "optim.lr" = 0.2')
    with pytest.raises(ConfigError, match="A difference could not be put down to either"):
        Experiment.parse(two)


def test_what_a_paper_takes_from_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page("how-to/paper")
    head = fenced(page("how-to/own-model"), "toml")[0].partition("[[question]]")[0]
    control = head.replace('"my-net"', '"ablation"').replace("width = 8", "width = 8, attention = false")
    experiment = Experiment.parse(control + fenced(text, "toml")[0])
    results = write_results(tmp_path / "results" / "ablation", experiment, {"control": 0.9, "attention": 0.95})
    content = verdicts.compute(results)
    results.write_json("verdicts.json", content)
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        exec(compile(fenced(text, "python")[0], "paper", "exec"), {})
    assert [line.partition(" & ")[0] for line in stream.getvalue().splitlines()] == ["attention", "wider"]
    comparison = content["questions"][0]["comparisons"][0]
    assert [key for key in ("p_this_test_set", "ci95_this_test_set", "p_holm", "ci95") if comparison[key] is None] == []
    assert content["comparisons_counted"] == 2
    assert {"runs", "diverged"} <= set(content["arms"]["attention"])


def test_weights_of_ones_own_are_described_as_the_page_on_photos_shows(tmp_path: Path) -> None:
    """The sidecar of the page is whole, but for its checksum; and what is said of 300 photos is arithmetic."""
    (sidecar,) = fenced(page("photos"), "json")
    (tmp_path / "photos-net.json").write_text(sidecar, encoding="utf-8")
    (tmp_path / "photos-net.safetensors").write_bytes(b"weights")
    told = page("photos")
    assert [key for key in _Sidecar.model_fields if f'"{key}"' not in sidecar and f"`{key}`" not in told] == []
    with pytest.raises(WeightsError, match="must have the SHA-256 that its sidecar states, 0000"):
        find_weights(str(tmp_path / "photos-net.json"))
    digest = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / "photos-net.json").write_text(re.sub("0{64}", digest, sidecar), encoding="utf-8")
    assert find_weights(str(tmp_path / "photos-net.json"), None).architecture == "resnet18"
    assert 1.5 < 100 / (300 * Experiment.parse(fenced(page("photos"), "toml")[0]).control.data.test) < 2  # type: ignore[operator]


def test_the_photos_of_the_page_need_no_experiment_file(tmp_path: Path) -> None:
    """A folder with a space in its name, and weights that say themselves what they are for."""
    settings = [
        'control.data.name="my photos"',
        "control.model.weights=weights/photos-net.json",
        "control.model.backbone=off",
    ]
    assert all(f"--set {setting}" in page("photos") for setting in settings)
    control = Experiment.load(experiments.find("photos"), settings).control
    assert control.data.name == "my photos"
    assert control.model.options["backbone"] is None


def test_a_check_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    before, stream = set(CHECKS), io.StringIO()
    try:
        with contextlib.redirect_stdout(stream):
            for block in fenced(page("how-to/own-check"), "python"):
                exec(compile(block, "own-check", "exec"), names)
    finally:
        added = {code: CHECKS.pop(code) for code in set(CHECKS) - before}
    assert set(added) == {"X001"}
    assert stream.getvalue() == fenced(page("how-to/own-check"), "text")[0]
    assert {"X001": names["found"][0].outcome} == {"X001": "fired"}
    assert names["cold_start"](Experiment.load(experiments.find("lenet-dhcd"), ["control.optim.lr=0.01"])) is not None


def test_the_page_on_options_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    root, rows = DOCS.parent, page("how-to/add-an-option").splitlines()
    places = [(name, line) for line in rows for name in re.findall(r"`((?:src|tests)/[\w/]+\.py|CHANGELOG\.md)`", line)]
    assert len(places) >= 8
    assert [name for name, _ in places if not (root / name).is_file()] == []
    for cell in (cell for line in rows for cell in line.split("|")):
        source = "".join((root / name).read_text("utf-8") for name in re.findall(r"`(src/[\w/]+\.py)`", cell))
        words = re.findall(r"`([A-Za-z_]+)`", cell) if source else []
        assert [word for word in words if word not in source] == [], cell
    *_, line = fenced(page("how-to/add-an-option"), "sh")
    setting = shlex.split(line)[-1]
    assert Experiment.load(experiments.find("lenet-digits"), [setting]).arms["stride"].factors == {
        "model.pooling": "stride"
    }


def test_the_page_on_experiment_files_has_every_key() -> None:
    head, _, control = page("experiment-file").partition("## `[control]`")
    written = set(re.findall(r"`(\w+)`", head))
    assert {*reading._EXPERIMENT_KEYS, *reading._QUESTION_KEYS} <= written
    for table, model in Experiment.load(experiments.find("photos")).control.model_dump().items():
        assert [key for key in model if f"| `{key}` |" not in control and (table, key) != ("model", "name")] == []


def test_a_key_that_is_off_may_be_left_out_and_only_the_rate_of_a_solver_may_besides() -> None:
    tables = doc_blocks.TABLES.items()
    off = [(name, table, key) for name, table in tables for key, told in table.told().items() if told == "off"]
    assert len(off) > 10
    for name, table, key in off:
        given = {each: NEEDED[each] for each, told in table.told().items() if told == "needed"}
        assert table.parse({**given, key: "off"}) == table.parse(given), f"{name}.{key}"
    assert OptimConfig.parse({"name": "lbfgs"}).lr == 1
    with pytest.raises(ConfigError, match="lr"):
        OptimConfig.parse({"name": "adam"})


def test_arms_are_written_in_each_form_that_the_page_shows() -> None:
    head = fenced(page("how-to/teach"), "toml")[0].partition("[[question]]")[0] + '[[question]]\nid = "q"\nasks = "?"\n'
    forms = (
        'arms.long = { "train.epochs" = 100 }',
        "arms.long = { train = { epochs = 100 } }",
        "[question.arms.long]\ntrain = { epochs = 100 }",
    )
    assert {str(Experiment.parse(head + form).arms["long"].factors) for form in forms} == {"{'train.epochs': 100}"}


@pytest.mark.parametrize("name", ["dogs-vs-cats", "sign-digits", "sign-digits-people"])
def test_every_arm_has_weights_of_timm_as_the_page_says(name: str) -> None:
    """The names are timm's, and no arm is left on weights that it does not have."""
    import timm

    (block,) = fenced(page(f"experiments/{name}"), "sh")
    program, command, experiment, *words = shlex.split(block)
    assert (program, command, experiment, words[::2]) == ("paribus", "run", name, ["--set"] * (len(words) // 2))
    arms = Experiment.load(experiments.find(name), words[1::2]).arms
    used = {(arm.recipe.model.options["weights"], arm.recipe.model.options["backbone"]) for arm in arms.values()}
    assert {weights for weights, _ in used} <= {"hub", "none"}
    assert [each for weights, each in used if weights == "hub" and each not in timm.list_pretrained()] == []
    ours = {arm.recipe.model.options["weights"] for arm in Experiment.load(experiments.find(name)).arms.values()}
    assert [each for each in ours - {"none"} if f"`{each}`" not in page("how-to/assignment")] == []
    assert [each for each in ours - {"none"} if timm.list_pretrained(each)] == []


def test_an_array_file_is_written_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = fenced(page("experiment-file"), "python")
    exec(compile(code, "mine", "exec"), {})
    dataset = load_data("mine.npz")
    assert (dataset.image_shape, dataset.num_classes) == ((3, 32, 32), 3)
    assert (len(dataset.train.labels), len(dataset.test.labels)) == (40, 20)
    assert [column for column in COLUMNS if f"`{column}`" not in page("experiment-file")] == []


def test_what_the_page_on_seeds_says_of_its_table() -> None:
    """At ten seeds, ten times the images gain more than five times the seeds; two seeds show next to nothing."""
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page("how-to/plan-seeds"), re.MULTILINE)
    table = {int(seeds): [float(value) for value in values] for seeds, *values in rows}
    assert table[10][1] < table[50][0] < table[10][0]
    assert min(table[2]) > 10 * table[10][0]
