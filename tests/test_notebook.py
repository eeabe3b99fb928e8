from __future__ import annotations

import re
from pathlib import Path

import pytest

from paribus import notebook, verdicts
from paribus.errors import StoreError
from paribus.experiment import Experiment
from paribus.launch import conduct
from paribus.store import Results
from paribus.testing.synthetic import example_experiment, write_results

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
