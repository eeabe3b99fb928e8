from __future__ import annotations

import base64
import html
import re
from pathlib import Path

import pytest

from paribus import notebook, power, verdicts
from paribus.errors import StoreError
from paribus.experiment import Experiment
from paribus.launch import conduct, planned
from paribus.store import Results
from paribus.testing.synthetic import example_experiment, write_results
from paribus.wording import loss, percent, verdict

TRUTH = {"control": 0.7, "relu": 0.97}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("notebook") / "result"
    results = write_results(folder, example_experiment(6, 2), TRUTH)
    results.write_json("verdicts.json", verdicts.compute(results))
    return results


def test_rows_are_the_comparisons(results: Results) -> None:
    content = results.read_json("verdicts.json")
    rows = results.to_rows()
    compared = [(q["id"], each) for q in content["questions"] for each in q["comparisons"]]
    assert [(row["question"], row["arm"]) for row in rows] == [(name, each["arm"]) for name, each in compared]
    for row, (_, each) in zip(rows, compared, strict=True):
        assert {key: row[key] for key in row if key != "question"} == {
            key: each[key] for key in row if key != "question"
        }


def test_text_and_table_say_the_same(results: Results) -> None:
    lines = repr(results).splitlines()
    assert lines[0] == f"Results of example in {results.folder}"
    assert lines[1].split()[:2] == ["question", "arm"]
    page = results._repr_html_()
    assert page is not None
    assert re.findall(r"<caption>(.*?)</caption>", page) == [lines[0]]
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)[1:]]
    assert [" ".join(" ".join(row).split()) for row in cells] == [" ".join(line.split()) for line in lines[2:]]
    assert any(cell == "better" for row in cells for cell in row)


def test_a_verdict_is_told_as_in_the_report(results: Results) -> None:
    content = results.read_json("verdicts.json")
    lines = repr(results).splitlines()[2:]
    told = [verdict(each) for question in content["questions"] for each in question["comparisons"]]
    assert [line.endswith(text) for line, text in zip(lines, told, strict=True)] == [True] * len(told)


def test_before_there_are_verdicts_it_says_so(tmp_path: Path) -> None:
    results = Results(tmp_path, example_experiment())
    assert repr(results) == f"Results of example in {tmp_path}: no verdicts yet"
    assert results._repr_html_() is None
    with pytest.raises(StoreError, match=r"verdicts.json` must exist, but it does not"):
        results.to_rows()


def test_the_python_of_the_readme_runs(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it trains is made up here, and lies where it looks for it."""
    page = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (experiment,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (snippet,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("my-digits.toml").write_text(experiment, encoding="utf-8")
    asked = []

    def run(given: Experiment) -> Results:
        asked.append(given)
        made = write_results(Path("results/my-digits"), Experiment.parse(experiment, ["experiment.seeds=3"]), TRUTH)
        made.write_json("verdicts.json", verdicts.compute(made))
        return made

    monkeypatch.setattr(conduct, "run", run)
    exec(snippet, {})
    assert [each.name for each in asked] == ["my-digits"]
    assert "relu" in capsys.readouterr().out


def test_what_users_write_is_escaped(results: Results) -> None:
    content = results.read_json("verdicts.json")
    content["questions"][0]["id"] = "<b>&"
    assert "<td>&lt;b&gt;&amp;</td>" in notebook.as_html("<x>", content)
    assert "<x>" not in notebook.as_html("<x>", content)


@pytest.fixture(scope="module")
def reported(results: Results) -> Results:
    conduct.rebuild(results)
    return results


def test_a_table_has_the_arms_of_a_question(reported: Results) -> None:
    content = reported.read_json("verdicts.json")
    shown = reported.table("relu")
    head, control, relu = repr(shown).splitlines()
    assert head.split()[:3] == ["arm", "runs", "test"]
    for line, arm in ((control, "control"), (relu, "relu")):
        row = content["arms"][arm]
        assert line.split()[:3] == [arm, str(row["runs"]), percent(row["test_accuracy"]["mean"])]
        assert loss(row["test_loss"]["mean"]) in line
    assert relu.endswith("better")
    assert control.endswith("–")
    assert f"<td>{percent(content['arms']['relu']['test_accuracy']['mean'])}</td>" in shown._repr_html_()
    swept = [line.split()[0] for line in repr(reported.table("lr")).splitlines()[1:]]
    assert swept == list(reported.experiment.questions[3].arms)


def test_a_comment_has_every_sentence_in_paragraphs(reported: Results) -> None:
    entry = next(each for each in reported.read_json("verdicts.json")["questions"] if each["id"] == "relu")
    shown = reported.comment("relu")
    words = " ".join(repr(shown).split())
    assert words.startswith(entry["asks"])
    for sentence in entry["comment"]:
        assert sentence["text"] in words
    parts = {sentence["part"] for sentence in entry["comment"]}
    assert shown._repr_html_().count("<p>") == len(parts) + 1
    assert "<code>relu</code>" in shown._repr_html_()
    assert max(map(len, repr(shown).splitlines())) <= 100


def test_figures_and_the_report_are_those_of_the_folder(reported: Results) -> None:
    shown = reported.figure("relu-seeds", "relu-val-loss")
    folder = reported.folder / "figures"
    assert repr(shown).splitlines() == [str(folder / "relu-seeds.svg"), str(folder / "relu-val-loss.svg")]
    first, second = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', shown._repr_html_())
    assert base64.b64decode(first) == (folder / "relu-seeds.svg").read_bytes()
    assert base64.b64decode(second) == (folder / "relu-val-loss.svg").read_bytes()
    page = reported.report()
    (source,) = re.findall(r'<iframe srcdoc="([^"]*)"', page._repr_html_())
    assert html.unescape(source) == (reported.folder / "report.html").read_text(encoding="utf-8")
    assert repr(page) == str(reported.folder / "report.html")


def test_what_is_not_there_is_refused_with_what_is(reported: Results, tmp_path: Path) -> None:
    for show in (reported.table, reported.comment):
        with pytest.raises(
            StoreError, match=r"A question must be one of relu, .*, but got `rellu`\. Did you mean `relu`"
        ):
            show("rellu")
    with pytest.raises(StoreError, match=r"one of .*relu-seeds.*, but got `relu-sedes`\. Did you mean `relu-seeds`"):
        reported.figure("relu-sedes")
    empty = Results(tmp_path, example_experiment())
    with pytest.raises(StoreError, match=r"one of none, as there is no report, but got `relu-seeds`"):
        empty.figure("relu-seeds")
    with pytest.raises(StoreError, match=r"report.html` must exist"):
        empty.report()


def test_a_plan_shows_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without colours, though a notebook asks every program for them."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    arm = planned.PlannedArm("control", "native-2", 5, 3, 6, 1.5, "the fastest that can")
    detectable = power.detectable(example_experiment(), 100, {})
    plan = planned.Plan([arm], 2, 4.5, [], detectable)
    planned.show(plan)
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert repr(plan).splitlines() == printed
    assert "\x1b" not in repr(plan)
    assert any("3 of 5" in line for line in printed)
