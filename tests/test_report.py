"""The report holds what the verdicts say, needs no other file, escapes what users write, and renders what is there."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from paribus import verdicts
from paribus.cli.tables import show_verdicts
from paribus.experiment import Experiment, RunSpec
from paribus.facts import Facts
from paribus.report import write_report
from paribus.report.build import build
from paribus.report.material import Material
from paribus.report.render import to_html, to_markdown
from paribus.stats import wilson
from paribus.store import Results
from paribus.testing.synthetic import example_experiment, write_results
from paribus.wording import NOTHING, difference, interval

ACCURACY = {"control": 0.9, "relu": 0.95, "relu-max": 0.97, "lr-0.001": 0.4, "lr-0.01": 0.8, "lr-10": 0.2}
HEAD = """
[experiment]
name   = "small"
title  = {title}
seeds  = {seeds}
margin = 0.01
[control]
data  = {{ name = "digits", size = 32, val = {val} }}
model = {{ name = "lenet5" }}
optim = {{ name = "sgd", lr = 0.1 }}
train = {{ epochs = 3 }}
"""
QUESTION = """
[[question]]
id   = "relu"
asks = {asks}
arms.relu = {{ "model.activation" = "relu" }}
"""
HOSTILE = '<script>alert("1")</script> & | a*b* [x](http://evil) `c`'


def small(title: str = "Small", seeds: int = 3, val: str = "100", asks: str | None = "Is ReLU better?") -> Experiment:
    text = HEAD.format(title=json.dumps(title), seeds=seeds, val=val)
    return Experiment.parse(text + (QUESTION.format(asks=json.dumps(asks)) if asks else ""))


class Page(HTMLParser):
    """The parts of an HTML file that tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self._cell = []
        elif tag == "small" and self._cell is not None:
            self._cell.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td") and self._cell is not None:
            self.tables[-1][-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._cell is not None:
            self._cell.append(data)

    def values(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.tags if attributes.get(name) is not None]

    def table_with(self, *head: str) -> list[dict[str, str]]:
        """The rows, by column, of the tables whose first columns are these."""
        rows = []
        for table in self.tables:
            if tuple(table[0][: len(head)]) == head:
                rows += [dict(zip(table[0], row, strict=True)) for row in table[1:]]
        return rows

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(results: Results) -> tuple[dict[str, Any], Page]:
    content = verdicts.compute(results)
    return content, Page(to_html(build(Material.gather(results, content))))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("full") / "result"
    results = write_results(
        folder, example_experiment(4, 4), ACCURACY, diverged=[("lr-10", 1)], missing=[("max", 2)], test_examples=1000
    )
    results.write_json("verdicts.json", verdicts.compute(results))
    write_report(results, results.read_json("verdicts.json"))
    return results


@pytest.fixture(scope="module")
def page(full: Results) -> Page:
    return Page((full.folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def markdown(full: Results) -> str:
    return (full.folder / "report.md").read_text(encoding="utf-8")


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"[+-]?\d+\.?\d*(?:e-?\d+)?", text.replace("\u2212", "-"))]


# What it needs and what it shows.


def test_html_needs_no_other_file(page: Page) -> None:
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    for source in page.values("src"):
        assert source.startswith("data:image/png;base64,")
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for name in ("href", "xlink:href"):
        assert all(target.startswith("#") and target[1:] in ids for target in page.values(name))
    for style in (*page.values("style"), *page.values("clip-path"), *page.words):
        assert all(target[1:] in ids for target in re.findall(r"url\(([^)]*)\)", style))
        assert "@import" not in style


def test_html_has_no_address_but_those_that_name_the_languages_of_svg(full: Results) -> None:
    text = (full.folder / "report.html").read_text(encoding="utf-8")
    assert {found.split("/")[2] for found in re.findall(r"https?://[^\s\"'<>]+", text)} <= {"www.w3.org"}


def test_every_question_and_every_arm_appears(full: Results, page: Page, markdown: str) -> None:
    headings = [tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")]
    assert headings[0] == "h1" and headings.count("h1") == 1
    for question in full.experiment.questions:
        assert f"question-{question.id}" in page.values("id")
        assert question.asks in page.text
        assert f"## {question.asks}" in markdown
    shown = {row["Arm"] for row in page.table_with("Arm")}
    assert shown == set(full.experiment.arms)
    assert all(f"| {arm} |" in markdown for arm in full.experiment.arms)


def test_every_fired_check_has_a_notice(full: Results, page: Page, markdown: str) -> None:
    fired = [check for check in full.read_json("verdicts.json")["checks"] if check["outcome"] == "fired"]
    assert fired
    for check in fired:
        assert re.search(rf"{check['code']} \(\w+\), [^:]*{check['where']}", page.text)
        assert check["code"] in markdown


def test_a_fired_check_is_told_once_at_its_question_and_linked_from_the_summary(full: Results, page: Page) -> None:
    fired = [check for check in full.read_json("verdicts.json")["checks"] if check["outcome"] == "fired"]
    for check in fired:
        assert page.text.replace(" ,", ",").count(check["message"].replace("`", "")) == 1
    assert any(check["where"] == "question lr" or check["where"].startswith("lr-") for check in fired)
    assert "#question-lr" in page.values("href")
    assert re.search(r"Checks fired at .*lr \(\d checks?: P\d{3}", page.text)


def test_a_question_goes_from_the_answer_to_what_comes_next(full: Results, markdown: str) -> None:
    for question in full.experiment.questions:
        section = markdown.partition(f"## {question.asks}\n")[2].partition("\n## ")[0]
        places = [section.find(word) for word in ("**Answer:**", "![", "Every arm of", "Next: ")]
        assert -1 not in places
        assert places == sorted(places)


def test_comments_are_quoted(full: Results, page: Page) -> None:
    text = page.text.replace(" ", "")
    for question in full.read_json("verdicts.json")["questions"]:
        for sentence in question["comment"]:
            assert re.sub(r"[\s`]", "", sentence["text"]) in text


def test_figures_say_in_words_what_they_show(page: Page) -> None:
    drawings = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(drawings) == 5 * 4 + 2 + 1 + 1, "four a question, two of the diagnosis, one of rates, one of both losses"
    for attributes in drawings:
        assert attributes["role"] == "img"
        assert len(str(attributes["aria-label"])) > 40
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


def test_tables_can_be_read_aloud(page: Page) -> None:
    assert sum(tag == "caption" for tag, _ in page.tags) == len(page.tables)
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.tags if tag == "th")


def test_markdown_shows_files_that_exist_and_whole_tables(full: Results, markdown: str) -> None:
    shown = set(re.findall(r"\]\((figures/[^)]+)\)", markdown))
    assert {f"figures/{path.name}" for path in (full.folder / "figures").iterdir()} == shown
    for block in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        lines = block.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert re.fullmatch(r"\|(?:---:?\|)+", lines[1])
    for path in (full.folder / "figures").glob("*.svg"):
        assert ElementTree.fromstring(path.read_text(encoding="utf-8")).tag.endswith("svg")


# Numbers.


def test_numbers_of_arms_are_those_of_the_verdicts(full: Results, page: Page) -> None:
    arms = full.read_json("verdicts.json")["arms"]
    rows = page.table_with("Arm")
    assert len(rows) >= len(arms)
    for row in rows:
        entry = arms[row["Arm"]]
        accuracy, loss = entry["test_accuracy"], entry["test_loss"]
        expected = [100 * value for value in (accuracy["mean"], *accuracy["ci95"])]
        assert numbers(row["Test accuracy (%)"]) == pytest.approx(expected, abs=0.00501)
        if loss["mean"] is None:
            assert row["Test loss"] == NOTHING
        else:
            assert numbers(row["Test loss"]) == pytest.approx([loss["mean"], *loss["ci95"]], rel=0.006)
        assert numbers(row["Time per run"])[0] == pytest.approx(entry["seconds_per_run"], rel=0.05)
        assert numbers(row["Runs"])[0] == entry["runs"]


def test_numbers_of_comparisons_are_those_of_the_verdicts(full: Results, page: Page) -> None:
    questions = full.read_json("verdicts.json")["questions"]
    compared = {each["arm"]: each for question in questions for each in question["comparisons"]}
    rows = [row for row in page.table_with("Arm") if row.get("Verdict", NOTHING) != NOTHING]
    assert {row["Arm"] for row in rows} == set(compared)
    for row in rows:
        entry = compared[row["Arm"]]
        expected = [100 * value for value in (entry["difference"], *entry["ci95"])]
        assert numbers(row["Difference (points)"]) == pytest.approx(expected, abs=0.00501)
        here = [100 * value for value in entry["ci95_this_test_set"]]
        assert numbers(row["These test images only"]) == pytest.approx(here, abs=0.00501)
        assert row["Verdict"].split("\n")[0] == entry["verdict"]
        assert numbers(row["p (Holm)"])[0] == pytest.approx(max(entry["p_holm"], 0.001), abs=0.00501)


def test_a_difference_reads_the_same_in_prose_table_and_terminal(
    full: Results, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    content = full.read_json("verdicts.json")
    show_verdicts(content, full.folder)
    printed = " ".join(capsys.readouterr().out.split())
    cells = {row["Arm"]: row["Difference (points)"] for row in page.table_with("Arm") if "Verdict" in row}
    for question in content["questions"]:
        prose = " ".join(sentence["text"] for sentence in question["comment"])
        for entry in question["comparisons"]:
            found = difference(entry["difference"], "test_accuracy")
            ends = interval(entry["ci95"], lambda end: difference(end, "test_accuracy"))
            assert cells[entry["arm"]] == f"{found}\n{ends}"
            assert f"a difference of {found} points (95 % interval on new images {ends}," in prose
            assert f"{entry['arm']} {found} points {ends} {entry['verdict']}" in printed


def test_summary_has_the_verdict_difference_and_interval_of_every_comparison(full: Results, page: Page) -> None:
    rows = {row["Arm"].split("\n")[0]: row for row in page.table_with("Question")}
    for question in full.read_json("verdicts.json")["questions"]:
        for entry in question["comparisons"]:
            row = rows[entry["arm"]]
            assert row["Verdict"].split("\n")[0] == entry["verdict"]
            assert numbers(row["Difference from control"])[0] == pytest.approx(100 * entry["difference"], abs=0.00501)
            assert numbers(row["95 % interval"]) == pytest.approx([100 * end for end in entry["ci95"]], abs=0.00501)
    best = next(
        question["sweep"]["best"] for question in full.read_json("verdicts.json")["questions"] if question["sweep"]
    )
    assert "best optim.lr on validation" in rows[best]["Arm"]


def test_confusions_are_counted_in_the_stored_predictions(full: Results, page: Page) -> None:
    arm = diagnosed(page)
    predictions = [run.predictions() for run in full.runs(arm)]
    for row in page.table_with("True class"):
        true, other = int(row["True class"]), int(row["Taken for"])
        times = sum(int(((each.labels == true) & (each.classes == other)).sum()) for each in predictions)
        assert float(row["Images per run"]) == pytest.approx(times / len(predictions), abs=0.0501)


def test_worst_errors_show_the_test_images_themselves(full: Results, page: Page) -> None:
    runs = full.runs(diagnosed(page))
    test = full.test_set(runs[0].config()["data_fingerprint"])
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert 0 < len(pictures) <= 24
    for attributes in pictures:
        index = numbers(str(attributes["alt"]))[0]
        png = base64.b64decode(str(attributes["src"]).partition(",")[2])
        shown = np.asarray(Image.open(io.BytesIO(png)))
        factor = shown.shape[0] // 32
        assert (shown[::factor, ::factor] == test.images[int(index), 0]).all()
        assert f"true class {test.labels[int(index)]}" in str(attributes["alt"])


def diagnosed(page: Page) -> str:
    found = re.search(r"Diagnosis of (\S+)", page.text)
    assert found is not None
    return found.group(1)


# Choice, sameness, escaping.


def test_the_diagnosed_arm_is_chosen_on_val_and_not_on_test(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", small(), {"control": 0.8, "relu": 0.95})
    assert diagnosed(report(results)[1]) == "relu"
    for run in results.runs("relu"):
        change_epochs(run.folder, val_accuracy=0.1)
    content, page = report(results)
    assert diagnosed(page) == "control"
    assert content["arms"]["relu"]["test_accuracy"]["mean"] > content["arms"]["control"]["test_accuracy"]["mean"]
    assert "chosen on validation, never by the test set" in page.text


def change_epochs(folder: Path, **values: float | None) -> None:
    path = folder / "epochs.jsonl"
    lines = [json.loads(line) | values for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_rebuilding_gives_the_same_bytes_whatever_the_reader_has_set(full: Results, tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", small(), {"control": 0.9})
    content = verdicts.compute(results)
    first = {path: path.read_bytes() for path in write_report(results, content)}
    np.random.seed(1)
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 5, "svg.fonttype": "path"}):
        second = {path: path.read_bytes() for path in write_report(Results.open(results.folder), content)}
    assert first == second
    assert len(first) > 2


def test_figures_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", small(), {"control": 0.9})
    kept, stale = tmp_path / "result/figures/notes.txt", tmp_path / "result/figures/gone-seeds.svg"
    stale.parent.mkdir()
    for path in (kept, stale):
        path.write_text("x", encoding="utf-8")
    write_report(results, verdicts.compute(results))
    assert kept.exists() and not stale.exists()


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", small(HOSTILE, asks=HOSTILE), {"control": 0.9})
    content = verdicts.compute(results)
    hostile = {"code": "P999", "level": "note", "outcome": "fired", "where": "relu", "message": HOSTILE}
    content["checks"].append(hostile)
    content["questions"][0]["comment"] = [{"text": HOSTILE, "part": "evidence", "evidence": []}]
    data = build(Material.gather(results, content))
    page, text = Page(to_html(data)), to_markdown(data)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count("alert(") >= 4
    assert "http://evil" not in page.values("href")
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\]\(http", text)
    assert r"\| a\*b\* \[x\]" in text


@pytest.mark.parametrize("start", ["# a", "- a", "+ a", "1. a", "--- a", "12) a"])
def test_a_text_cannot_begin_a_heading_or_a_list_in_markdown(tmp_path: Path, start: str) -> None:
    missing = [("control", 0), ("relu", 0)]
    results = write_results(tmp_path / "result", small(seeds=1), {"control": 0.9}, missing=missing)
    content = verdicts.compute(results)
    content["questions"][0]["comment"] = [{"text": start, "part": "evidence", "evidence": []}]
    lines = to_markdown(build(Material.gather(results, content))).splitlines()
    assert start not in lines
    assert any(line.replace("\\", "") == start for line in lines)


# Parts that are not there.


def test_without_any_run_the_report_says_so(tmp_path: Path) -> None:
    missing = [(arm, seed) for arm in ("control", "relu") for seed in range(3)]
    results = write_results(tmp_path / "result", small(), {"control": 0.9}, missing=missing)
    _, page = report(results)
    assert "0 of 6 finished" in page.text
    assert "No run has finished of control and relu" in page.text
    assert "nothing to diagnose" in page.text
    assert not [tag for tag, _ in page.tags if tag == "svg"]


def test_missing_and_failed_runs_are_named(tmp_path: Path) -> None:
    experiment = small(seeds=4)
    results = write_results(tmp_path / "result", experiment, {"control": 0.9}, missing=[("relu", 1), ("relu", 3)])
    recipe = experiment.arms["relu"].recipe
    results.begin(RunSpec("relu", 3, recipe, "0", "e-1")).fail("ModelError: too small\nTraceback")
    _, page = report(results)
    assert "Arm relu is not complete: seed 1 is missing." in page.text
    assert "Arm relu, seed 3 failed: ModelError: too small" in page.text
    assert "Traceback" not in page.text
    assert [row["Runs"] for row in page.table_with("Arm")] == ["4", "2 of 4"]


def test_arms_that_lack_the_same_runs_share_a_line(tmp_path: Path) -> None:
    missing = [(arm, seed) for arm in ("control", "relu") for seed in (1, 3)]
    _, page = report(write_results(tmp_path / "result", small(seeds=4), {"control": 0.9}, missing=missing))
    assert page.text.count("not complete") == 1
    assert "Arms control and relu are not complete: seeds 1 and 3 are missing." in page.text


def test_one_seed_has_wilson_intervals_and_says_what_is_unknown(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", small(seeds=1), {"control": 0.9, "relu": 0.99})
    _, page = report(results)
    assert "There is only one seed" in page.text
    for row in page.table_with("Arm"):
        correct = round(200 * results.runs(row["Arm"])[0].result.test_accuracy)
        expected = [100 * value for value in (correct / 200, *wilson(correct, 200))]
        assert numbers(row["Test accuracy (%)"]) == pytest.approx(expected, abs=0.0501)


def test_without_validation_the_control_is_diagnosed_and_curves_are_left_out(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", small(), {"control": 0.9, "relu": 0.99})
    for arm in ("control", "relu"):
        for run in results.runs(arm):
            change_epochs(run.folder, val_loss=None, val_accuracy=None)
    _, page = report(results)
    assert "No run recorded a validation loss" in page.text
    assert diagnosed(page) == "control"
    assert "No arm has a validation accuracy to choose by" in page.text
    assert not [label for label in page.values("aria-label") if label.startswith("Validation")]
    assert [label for label in page.values("aria-label") if label.startswith("Training loss")]


def test_validation_on_the_test_set_is_never_called_unseen(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", small(val='"test"'), {"control": 0.9})
    _, page = report(results)
    assert "Validation used the test set" in page.text
    assert "this choice did see the test images" in page.text
    assert "never by the test set" not in page.text and "chooses nothing" not in page.text


def test_what_could_not_be_looked_at_is_told(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", small(), {"control": 0.9})
    results.write_facts(Facts(unseen=("Data and networks: the process ended.",)))
    assert "Not looked at before training: Data and networks: the process ended." in report(results)[1].text


@pytest.mark.parametrize("seeds", [1, 2])
def test_arms_whose_runs_all_diverged_are_shown_as_such(tmp_path: Path, seeds: int) -> None:
    diverged = [(arm, seed) for arm in ("control", "relu") for seed in range(seeds)]
    results = write_results(tmp_path / "result", small(seeds=seeds), {"control": 0.9}, diverged=diverged)
    _, page = report(results)
    assert f"{seeds} diverged" in page.text
    assert "All of its runs diverged, so there is nothing to show." in page.text


def test_an_experiment_without_questions_describes_its_control(tmp_path: Path) -> None:
    results = write_results(tmp_path / "result", small(asks=None), {"control": 0.9})
    _, page = report(results)
    assert "The experiment asks no question" in page.text
    assert diagnosed(page) == "control"
    assert "control is the only arm" in page.text


def test_many_classes_have_a_wide_matrix_and_more_have_none(tmp_path: Path) -> None:
    wide = write_results(tmp_path / "wide", small(asks=None, seeds=1), {"control": 0.9}, num_classes=46)
    assert any(attributes.get("class") == "wide" for _, attributes in report(wide)[1].tags)
    none = write_results(tmp_path / "none", small(asks=None, seeds=1), {"control": 0.9}, num_classes=80)
    page = report(none)[1]
    assert "A confusion matrix of 80 classes cannot be read" in page.text
    assert not [label for label in page.values("aria-label") if label.startswith("Confusion")]


# Figures and words.


def test_changes_name_the_old_value_and_the_new_one(page: Page) -> None:
    changed = {row["Arm"]: row["What changed"] for row in page.table_with("Arm") if "What changed" in row}
    assert changed["relu-max"] == "model.activation: tanh \u2192 relu; model.pooling: avg \u2192 max"
    assert changed["control"] == "nothing"
