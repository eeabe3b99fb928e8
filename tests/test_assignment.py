"""`paribus assignment`: its requests, its document from stored results, what it refuses, its quick form."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_files import picture, write_files
from doc_blocks import GALLERY
from paribus import experiments
from paribus.assignment.build import build
from paribus.assignment.choices import choice
from paribus.assignment.page import Answer, Document
from paribus.assignment.requests import EXPERIMENTS, LOADER, REQUESTS
from paribus.assignment.stored import Stored
from paribus.assignment.write import to_html, to_markdown, write
from paribus.errors import StoreError
from paribus.experiment import CONTROL, Experiment
from paribus.report.page import Cell
from paribus.report.recipe import recipe_text
from paribus.store import Results
from paribus.wording import duration
from quoted_values import unexplained

MOST_BYTES = 4_000_000


@pytest.fixture(scope="module")
def stored() -> Stored:
    return Stored.gather(GALLERY, is_quick=False)


@pytest.fixture(scope="module")
def document(stored: Stored) -> Document:
    return build(stored)


def shipped(name: str) -> Experiment:
    return Experiment.load(experiments.find(name))


def test_there_are_sixteen_requests_of_five_experiments() -> None:
    assert len(REQUESTS) == len({request.id for request in REQUESTS}) == 16
    assert list(EXPERIMENTS) == ["lenet-mnist", "lenet-dhcd", "dogs-vs-cats", "sign-digits", "sign-digits-people"]
    page = (GALLERY.parent / "how-to" / "assignment.md").read_text(encoding="utf-8")
    assert "answers the sixteen requests" in page
    assert "runs five shipped experiments" in page


def test_every_source_is_a_question_of_a_shipped_experiment_and_every_question_is_a_source() -> None:
    named = {(source.experiment, source.question) for request in REQUESTS for source in request.sources}
    there = {(name, question.id) for name in EXPERIMENTS for question in shipped(name).questions}
    assert named == there


def test_every_request_is_answered_by_something() -> None:
    assert [request.id for request in REQUESTS if not request.figures] == []
    assert [request.id for request in REQUESTS if not request.sources and request.control_of is None] == []
    headed = [request.id for request in REQUESTS if any(source.is_headline for source in request.sources)]
    assert [request.id for request in REQUESTS if request.id not in headed] == ["baseline", "folders"]
    assert [request.id for request in REQUESTS if request.is_choice and request.id not in headed] == []


@pytest.mark.parametrize("figure", [figure for request in REQUESTS for figure in request.figures])
def test_every_figure_is_one_that_a_report_draws(figure: str, stored: Stored) -> None:
    name, _, stem = figure.partition("/")
    kinds = {question.id: question.kind for question in shipped(name).questions}
    identity = next(each for each in sorted(kinds, key=len, reverse=True) if stem.startswith(f"{each}-"))
    suffixes = {"rates", "val-accuracy", "val-loss", "train-loss", "sweep" if kinds[identity] == "sweep" else "seeds"}
    suffixes |= {f"losses-{arm}" for arm in shipped(name).arms}
    assert stem.removeprefix(f"{identity}-") in suffixes
    assert stored.figure(figure) is not None


def test_no_figure_is_shown_twice() -> None:
    figures = [figure for request in REQUESTS for figure in request.figures]
    assert len(figures) == len(set(figures))


def test_every_request_has_verdict_words_figure_and_table(document: Document) -> None:
    assert [answer.number for answer in document.answers] == list(range(1, 17))
    for answer in document.answers:
        assert answer.figures and answer.table, answer.id
        assert answer.quoted or answer.measured, answer.id
        for quoted in answer.quoted:
            assert quoted.comment.answer or quoted.rates, (answer.id, quoted.question)


def test_only_what_the_gallery_lacks_is_missing(document: Document) -> None:
    missing = {answer.id: answer.missing for answer in document.answers if answer.missing}
    assert set(missing) <= {"devanagari"}
    assert all("was run without the question" in line for lines in missing.values() for line in lines)


def test_every_sentence_is_one_of_the_commentary(document: Document, stored: Stored) -> None:
    request_of = {request.id: request for request in REQUESTS}
    for answer in document.answers:
        sources = {(each.experiment, each.question): each for each in request_of[answer.id].sources}
        for quoted in answer.quoted:
            identity = quoted.question.href.partition("#question-")[2]
            entry = stored.materials[quoted.experiment].question(identity)
            parts = {part: [each for each in entry["comment"] if each["part"] == part] for part in _PARTS}
            texts = {part: " ".join(each["text"] for each in said) for part, said in parts.items()}
            wanted = sources[quoted.experiment, identity].parts
            assert " ".join(quoted.comment.answer) == (texts["answer"] if "answer" in wanted else "")
            assert quoted.comment.evidence == (texts["evidence"] if "evidence" in wanted else "")
            assert quoted.comment.limits == (texts["limits"] if "limits" in wanted else "")
            assert quoted.rates == (texts["rates"] if "rates" in wanted else "")
            assert [unexplained(each) for said in parts.values() for each in said if unexplained(each)] == []


def test_updates_have_a_column_only_where_they_are_known(document: Document) -> None:
    """The gallery keeps no runs; of a run by the command they are told, see below."""
    heads = [answer.table.head for answer in document.answers if answer.table is not None]
    assert heads and not any("Updates per run" in head for head in heads)
    assert all(head[-1] == "Time per run" for head in heads)


def test_every_number_of_the_tables_is_in_the_verdicts(document: Document, stored: Stored) -> None:
    for answer in document.answers:
        assert answer.table is not None
        for arm, *cells in answer.table.rows:
            verdicts = stored.materials[experiment_of(arm)].verdicts
            against = {"run": CONTROL, "key": "runs", "value": verdicts["arms"][CONTROL]["runs"]}
            evidence = [*leaves(verdicts, arm.text), against]
            sentence = {"text": text_of(cells), "evidence": evidence}
            assert unexplained(sentence) == [], (answer.id, arm.text)


def test_every_number_that_is_told_of_controls_is_in_the_verdicts(document: Document, stored: Stored) -> None:
    told = [text for answer in document.answers for text in answer.measured if " the control reaches " in text]
    assert [text.split("`")[1] for text in told] == list(EXPERIMENTS)
    for name, text in zip(EXPERIMENTS, told, strict=True):
        material = stored.materials[name]
        evidence = list(leaves(material.verdicts, CONTROL))
        published = material.experiment.published or ()
        evidence += [{"run": "published", "key": "accuracy", "value": each} for each in published]
        assert unexplained({"text": text, "evidence": evidence}) == []


def test_recipes_and_splits_are_told_of_every_experiment(document: Document, stored: Stored) -> None:
    told = [text for answer in document.answers for text in answer.measured]
    recipes = {text.split("`")[1]: text for text in told if text.startswith("Recipe of the control of ")}
    assert list(recipes) == ["lenet-mnist", "lenet-dhcd", "dogs-vs-cats", "sign-digits"]
    for name, text in recipes.items():
        assert text.endswith(f": {recipe_text(stored.materials[name].experiment.control)}.")
    splits = {text.split("`")[1]: text for text in told if " images to train, " in text}
    assert set(splits) == set(EXPERIMENTS)
    assert splits["sign-digits"] == "`sign-digits`: 1,712 images to train, 300 to validate, 50 to test."
    assert splits["dogs-vs-cats"] == "`dogs-vs-cats`: 202 images to train, 103 to validate, 451 to test."


def test_what_to_take_is_told_of_every_choice(document: Document, stored: Stored) -> None:
    """By the verdicts: what is better than the control, or else the control."""
    told = {answer.id: answer.choices for answer in document.answers if answer.choices}
    assert list(told) == ["model", "optimisation", "approach"]
    for request in REQUESTS:
        compared = [source for source in request.sources if source.is_headline]
        assert len(told.get(request.id, ())) == (len(compared) if request.is_choice else 0)
        for source, text in zip(compared, told.get(request.id, ()), strict=False):
            comparisons = stored.materials[source.experiment].question(source.question)["comparisons"]
            better = [each["arm"] for each in comparisons if each["verdict"] == "better"]
            assert text.startswith(f"`{source.experiment}`, {source.question}: ")
            assert ("the control, " in text) == (not better)
            assert all(f"`{each['arm']}`" in text for each in comparisons if not better or each["arm"] in better)


def test_one_that_is_better_is_taken(stored: Stored) -> None:
    material = stored.materials["lenet-mnist"]
    questions = {question.id: question for question in material.experiment.questions}
    taken = choice(material, questions["batch-size"])
    assert taken == "`b512-same-steps`, shown to be better than the control."
    assert choice(material, questions["relu"]) == (
        "the control. Nothing else is shown to be better: `relu` is undecided."
    )
    assert choice(material, questions["learning-rate"]) is None, "a sweep chooses on validation"


def test_the_loader_that_is_shown_runs(tmp_path: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 3, 8, 8, 3), dtype=np.uint8)
    places = itertools.product(enumerate(("train", "valid", "test")), enumerate(("cat", "dog")), range(3))
    files = {
        f"{split}/{name}/{index}.jpg": picture(pixels[row, column, index], "jpeg")
        for (row, split), (column, name), index in places
    }
    write_files(tmp_path / "photos", files)
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []
    exec(LOADER.replace("    ...", "    seen.append(batch)"), {"seen": seen})
    assert [tuple(batch.shape) for batch in seen] == [(6, 3, 256, 256)]


def test_the_numbers_of_the_summary_are_those_of_the_tables(document: Document) -> None:
    rows = {(row[0].text, experiment_of(row[0])): row for answer in document.answers for row in table_of(answer)}
    checked = 0
    for _, verdict, arm, difference, within, _figure in document.summary.rows:
        row = rows.get((arm.text, arm.small.partition(";")[0]))
        assert row is not None, arm
        if verdict.verdict:
            assert (f"{difference.text} {difference.small}", within.text) == (
                row[3].text,
                row[3].small.partition(";")[0],
            )
            assert verdict == row[4]
            checked += 1
        elif verdict.text.endswith(" %"):
            assert verdict.text == f"{row[1].text} %"
    assert checked > 16


def test_what_it_was_made_on_is_what_the_results_say(document: Document, stored: Stored) -> None:
    assert [row[0].text for row in document.environments.rows] == list(EXPERIMENTS)
    total = 0
    for name, runs, _time, wall, processor, workers, engine, versions, commit in document.environments.rows:
        material = stored.materials[name.text]
        about = material.results.environment
        made = sum(arm["runs"] for arm in material.verdicts["arms"].values())
        total += made
        took = material.results.wall_time()
        assert (runs.text, wall.text) == (str(made), "–" if took is None else duration(took.seconds))
        assert (processor.text, workers.text, engine.text) == (
            about["processor"],
            str(about["workers"]),
            about["engine"],
        )
        assert (
            f"Python {about['python']}, " in versions.small and f"torch {about['packages']['torch']}" in versions.small
        )
        assert commit.text == (about["git_commit"] or "–")
    facts = dict(document.facts)
    assert facts["Runs"] == str(total)
    assert facts["Experiments"] == "lenet-mnist, lenet-dhcd, dogs-vs-cats, sign-digits and sign-digits-people"


def test_wall_time_is_told_of_those_experiments_that_kept_it(tmp_path: Path) -> None:
    for name in ("lenet-mnist", "sign-digits-people"):
        shutil.copytree(GALLERY / name, tmp_path / name)
        (tmp_path / name / "sessions.jsonl").unlink(missing_ok=True)

    def wall() -> str | None:
        return dict(build(Stored.gather(tmp_path, is_quick=False)).facts).get("Wall time")

    assert wall() is None
    results = Results.open(tmp_path / "lenet-mnist")
    for seconds, runs in ((100.0, 120), (25.4, 50)):
        results.begin_session()
        results.end_session(seconds, runs)
    assert wall() == "2 min 5 s for lenet-mnist; not kept for the others"
    people = Results.open(tmp_path / "sign-digits-people")
    people.begin_session()
    people.end_session(60.0, 5)
    assert wall() == "at least 3 min 5 s", "one of the 6 runs is of another day"
    people.begin_session()
    people.end_session(30.0, 1)
    assert wall() == "3 min 35 s"
    people.begin_session()
    assert wall() == "at least 3 min 35 s", "a call was killed"
    with (tmp_path / "lenet-mnist" / "sessions.jsonl").open("a") as file:
        file.write('{"hours": 3}\n')
    with pytest.raises(StoreError, match=r"sessions\.jsonl` is damaged"):
        wall()


def test_numbers_that_no_verdict_has_are_found() -> None:
    evidence = [{"run": "relu", "key": "test_accuracy.mean", "value": 0.9894}]
    assert unexplained({"text": "98.94 and 98.95", "evidence": evidence}) == ["98.95"]


def test_what_checks_say_is_told_once(document: Document, stored: Stored) -> None:
    lines = [line for answer in document.answers for line in answer.notices]
    assert len(lines) == len(set(lines))
    for name, material in stored.materials.items():
        for check in material.checks():
            assert any(line.startswith(f"`{name}`: {check['code']} ") for line in lines), (name, check["code"])


def test_the_document_is_whole_works_offline_and_links_to_what_there_is(document: Document, stored: Stored) -> None:
    page, text = to_html(document), to_markdown(document)
    assert len(page.encode()) + len(text.encode()) < MOST_BYTES
    assert re.findall(r'(?:src|href)="(?:https?:|//)', page) == []
    assert "<script" not in page
    identities = re.findall(r'\sid="([^"]+)"', page)
    assert len(identities) == len(set(identities))
    assert [each for each in re.findall(r'href="#([^"]+)"', page) if each not in identities] == []
    for link in set(re.findall(r'href="(\.\./[^"#]+)', page)) | set(re.findall(r"\]\((\.\./[^)#]+)\)", text)):
        assert (GALLERY / "assignment" / link).with_suffix(".md").resolve().is_file(), link
    for answer in document.answers:
        assert f'id="request-{answer.id}"' in page
        assert f'<a id="request-{answer.id}"></a>\n\n## {answer.number}. ' in text
        assert page.count(f'href="#request-{answer.id}"') >= 2
    assert "quick" not in document.title.lower()
    assert "settles nothing" not in text


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    for name in ("lenet-mnist", "sign-digits-people"):
        shutil.copytree(GALLERY / name, tmp_path / name)
    stored = Stored.gather(tmp_path, is_quick=False)
    first = write(stored)
    (tmp_path / "assignment" / "figures" / "old.svg").write_text("<svg/>")
    before = contents(tmp_path / "assignment")
    again = write(stored)
    after = contents(tmp_path / "assignment")
    assert first.file == again.file == tmp_path / "assignment" / "assignment.html"
    assert after == {name: content for name, content in before.items() if name != "figures/old.svg"}
    shown = re.findall(r"\]\((figures/[^)]+)\)", after["assignment.md"].decode())
    assert set(shown) == {name for name in after if name.startswith("figures/")}
    assert len(shown) > 5


def test_verdicts_of_a_former_design_are_not_those_of_the_present_one(tmp_path: Path) -> None:
    shutil.copytree(GALLERY / "lenet-mnist", tmp_path / "lenet-mnist")
    path = tmp_path / "lenet-mnist" / "experiment.toml"
    assert Results.open(path.parent).has_verdicts()
    path.write_text(shipped("lenet-mnist").to_toml().replace("relu]", "leaky-relu]"), encoding="utf-8")
    assert not Results.open(path.parent).has_verdicts()
    with pytest.raises(StoreError, match="is of what it was before it was changed"):
        Results.open(path.parent).verdicts()
    document = build(Stored.gather(tmp_path, is_quick=False))
    assert dict(document.facts)["Changed and not finished"] == "lenet-mnist"
    assert "`lenet-mnist` has been changed and not finished, so nothing is said there." in document.limits
    assert document.summary.rows[0][1].text == "not finished"
    assert document.answers[1].missing == ("`lenet-mnist` was changed and is not finished.",)


def test_what_has_not_been_run_is_said(tmp_path: Path) -> None:
    shutil.copytree(GALLERY / "lenet-mnist", tmp_path / "lenet-mnist")
    (tmp_path / "lenet-mnist" / "figures" / "relu-seeds.svg").unlink()
    document = build(Stored.gather(tmp_path, is_quick=False))
    by_id = {answer.id: answer for answer in document.answers}
    assert by_id["relu"].missing == ("The report of `lenet-mnist` has no figure `relu-seeds`.",)
    assert by_id["devanagari"].missing == ("`lenet-dhcd` has not been run.",)
    assert by_id["model"].missing == ("`dogs-vs-cats` has not been run.", "`sign-digits` has not been run.")
    assert dict(document.facts)["Not run"] == "lenet-dhcd, dogs-vs-cats, sign-digits and sign-digits-people"
    assert any("have not been run, so nothing is said there." in each for each in document.limits)
    assert sum(row[1].text == "not run" for row in document.summary.rows) == 8
    assert "`dogs-vs-cats` has not been run." in to_markdown(document)


def test_nothing_run_makes_a_document_that_says_so(tmp_path: Path) -> None:
    document = build(Stored.gather(tmp_path, is_quick=False))
    assert dict(document.facts)["Experiments"] == "none has been run"
    assert all(row[1].text == "not run" for row in document.summary.rows)
    assert "has not been run" in to_html(document)


def test_a_control_without_a_finished_run_says_so(tmp_path: Path) -> None:
    shutil.copytree(GALLERY / "lenet-mnist", tmp_path / "lenet-mnist")
    path = tmp_path / "lenet-mnist" / "verdicts.json"
    verdicts = json.loads(path.read_text(encoding="utf-8"))
    nothing = {"mean": None, "sd": None, "ci95": None, "ci95_kind": None}
    control = {"runs": 0, "diverged": 0, "test_accuracy": nothing, "test_loss": nothing, "seconds_per_run": None}
    path.write_text(json.dumps(verdicts | {"arms": verdicts["arms"] | {CONTROL: control}}), encoding="utf-8")
    document = build(Stored.gather(tmp_path, is_quick=False))
    assert document.answers[0].measured[0] == "`lenet-mnist`: no run of the control has finished."
    assert document.summary.rows[0][1] == Cell("no verdict", "runs are missing")
    assert document.answers[0].table is not None
    assert [cell.text for cell in document.answers[0].table.rows[0]] == [CONTROL, *["–"] * 5]


def test_a_report_that_lacks_its_figure_is_refused(tmp_path: Path) -> None:
    shutil.copytree(GALLERY / "sign-digits-people", tmp_path / "sign-digits-people")
    (tmp_path / "sign-digits-people" / "report.md").write_text("# Nothing\n")
    with pytest.raises(StoreError, match=r"report.md` must show the figure `approach-seeds`, but does not. Write it"):
        build(Stored.gather(tmp_path, is_quick=False))


_PARTS = ("answer", "evidence", "rates", "limits")


def table_of(answer: Answer) -> tuple[tuple[Cell, ...], ...]:
    return answer.table.rows if answer.table else ()


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def experiment_of(arm: Cell) -> str:
    """The experiment whose arm a row is of: it begins the small print."""
    return re.split("[,;]", arm.small)[0]


def text_of(cells: list[Cell]) -> str:
    return " ; ".join(f"{cell.text} ; {cell.small}" for cell in cells)


def leaves(verdicts: Mapping[str, Any], arm: str) -> Iterator[dict[str, Any]]:
    """All figures that the verdicts have of an arm and its comparisons, as evidence of a sentence."""
    entry = verdicts["arms"][arm]
    places = {"arm": entry}
    places |= {
        f"{question['id']}.comparison": comparison
        for question in verdicts["questions"]
        for comparison in question["comparisons"]
        if comparison["arm"] == arm
    }
    for where, place in places.items():
        for key, value in figures_in(place):
            yield {"run": where, "key": key, "value": value}
    of_control = verdicts["arms"][CONTROL]["seconds_per_run"]
    if of_control and entry["seconds_per_run"] is not None:
        yield {"run": arm, "key": "cost_ratio", "value": entry["seconds_per_run"] / of_control}


def figures_in(place: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(place, Mapping):
        for name, value in place.items():
            yield from figures_in(value, f"{key}.{name}".strip("."))
    elif isinstance(place, list):
        for index, value in enumerate(place):
            yield from figures_in(value, f"{key}.{index}")
    elif isinstance(place, int | float) and not isinstance(place, bool):
        yield key, place
