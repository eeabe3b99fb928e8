"""The page and its API say what the store holds, follow runs as they train, and cost little where nothing changes."""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from paribus.cli import browser, main
from paribus.errors import ConfigError, StoreError
from paribus.stats import crossed
from paribus.store import Results
from paribus.testing.synthetic import example_experiment, write_results
from paribus.verdicts import compute
from paribus.web import live, phrases, schema, versus
from paribus.web.catalogue import Catalogue
from paribus.web.memory import Memory
from paribus.web.overview import overview
from paribus.web.security import MOST_BYTES, MOST_HEADER_BYTES, Rules
from paribus.web.server import DEFAULT_PORT, listen, require_extra
from paribus.web.site import plotly_styles
from paribus.web.verdict_table import STRIP_WIDTH, verdict_rows
from test_checks_outcome import linked_by_a_third
from web_results import write_finished, write_training
from web_server import Address, serving


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results: one finished, with verdicts and a report, and one that is damaged."""
    return write_finished(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def server(finished: Path) -> Iterator[Address]:
    with serving(finished) as address:
        yield address


@pytest.fixture
def training(tmp_path: Path) -> Results:
    """A result whose control has ended, with one run of each other kind in `relu`."""
    return write_training(tmp_path / "training")


def test_verdicts_of_a_former_design_are_not_shown(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "example", tmp_path / "example")
    path = tmp_path / "example" / "experiment.toml"
    former = overview("example", Results.open(path.parent), Memory())
    assert former.questions[0].comparisons
    path.write_text(path.read_text(encoding="utf-8").replace("arms.relu", "arms.rectified"), encoding="utf-8")
    about = overview("example", Results.open(path.parent), Memory())
    assert [question.comparisons for question in about.questions] == [[] for _ in about.questions]
    assert {row.verdict.text for row in verdict_rows(about)} == {"no verdict yet"}
    assert live.progress(Results.open(finished / "example"), Memory()).verdicts is not None
    assert live.progress(Results.open(path.parent), Memory()).verdicts is None


def test_two_sides_are_compared_as_the_verdicts_would(finished: Path) -> None:
    results = Results.open(finished / "example")
    found = versus.confront(results, Memory(), "control", "relu")
    verdicts = results.read_json("verdicts.json")
    (told,) = verdicts["questions"][0]["comparisons"]
    assert found.difference.value == pytest.approx(told["difference"])
    assert found.difference.ci95 == pytest.approx(tuple(told["ci95"]))
    assert found.difference.p == pytest.approx(told["p"])
    assert [(each.key, each.first, each.second) for each in found.recipe] == [("model.activation", "tanh", "relu")]
    assert found.first.test_loss == pytest.approx(verdicts["arms"]["control"]["test_loss"]["mean"])
    assert found.second.seconds == pytest.approx(verdicts["arms"]["relu"]["seconds_per_run"])
    assert [each.arm for each in found.curves.panels[0].arms] == ["control, all seeds", "relu, all seeds"]
    text = phrases.difference_text(found)
    assert text.startswith("relu, all seeds against control, all seeds: +")
    assert "95 % interval on new images" in text
    assert "not corrected for the other pairs" in text


def test_images_on_which_two_runs_differ_are_those_of_their_predictions(finished: Path) -> None:
    results = Results.open(finished / "example")
    found = versus.confront(results, Memory(), "control/1", "relu/2").agreement
    runs = results.runs("control")[1], results.runs("relu")[2]
    first, second = (run.predictions() for run in runs)
    assert found is not None
    assert found.both == (first.correct & second.correct).sum()
    assert found.only_first == (first.correct & ~second.correct).sum()
    assert found.only_second == (~first.correct & second.correct).sum()
    assert found.neither == (~first.correct & ~second.correct).sum()
    differing = np.flatnonzero(first.correct != second.correct)
    assert sorted(image.index for image in found.images) == sorted(differing[: versus.MOST_IMAGES])
    for image in found.images:
        assert image.true == str(first.labels[image.index])
        assert (image.first, image.second) == (str(first.classes[image.index]), str(second.classes[image.index]))
    alone = crossed(second.correct[None].astype(float), first.correct[None].astype(float))
    difference = versus.confront(results, Memory(), "control/1", "relu/2").difference
    assert (difference.value, difference.ci95) == (alone.difference, alone.ci95)


def test_two_sides_without_a_comparison_say_why(training: Results, finished: Path) -> None:
    memory = Memory()
    reason = versus.confront(training, memory, "control", "max").difference.reason
    assert reason == "No run of max, all seeds has ended yet."
    same = versus.confront(training, memory, "control/0", "control/0")
    assert same.recipe == []
    assert phrases.difference_text(same) == (
        "The two did not differ from run to run or image to image: no spread to judge by."
    )
    assert len({each.arm for each in same.curves.panels[0].arms}) == 2
    apart = versus.confront(training, memory, "control/5", "relu")
    assert apart.difference.reason == "No seed has a run of both that has ended."
    other = write_results(training.folder.parent / "other", example_experiment(seeds=6), {"control": 0.5}, seed=1)
    predictions = (other.run_folder("relu", 0) / "predictions.npz").read_bytes()
    for seed in (0, 1):
        (training.run_folder("relu", seed) / "predictions.npz").write_bytes(predictions)
    assert versus.confront(training, memory, "control", "relu").difference.reason == (
        "The two were tested on different images."
    )


def test_two_sides_that_a_third_shows_to_be_tested_on_the_same_images_are_compared(tmp_path: Path) -> None:
    results = linked_by_a_third(tmp_path)
    (told,) = compute(results)["questions"][0]["comparisons"]
    assert told["arm"] == "renamed" and told["difference"] is not None
    found = versus.confront(results, Memory(), "control", "renamed").difference
    assert found.value == pytest.approx(told["difference"]) and found.ci95 == pytest.approx(tuple(told["ci95"]))


def test_strips_lie_on_one_scale_with_the_margin(finished: Path) -> None:
    about = overview("example", Results.open(finished / "example"), Memory())
    rows = list(verdict_rows(about))
    assert [row.arm for row in rows[:3]] == ["relu", "max", "relu-max"]
    for row in rows:
        (comparison,) = row.question.comparisons
        assert row.strip is not None
        assert comparison.ci95 is not None
        low, high = row.strip.interval
        assert 0 <= low <= row.strip.point <= high <= STRIP_WIDTH
        scale = (row.strip.margin[1] - STRIP_WIDTH / 2) / comparison.margin
        assert high == pytest.approx(STRIP_WIDTH / 2 + scale * comparison.ci95[1], abs=1.5)


def test_a_question_without_a_comparison_says_so(training: Results, finished: Path, tmp_path: Path) -> None:
    about = overview("training", training, Memory())
    rows = list(verdict_rows(about))
    assert {row.verdict.text for row in rows} == {"no verdict yet"}
    assert [row.strip for row in rows] == [None] * 5
    best = Results.open(shutil.copytree(finished / "example", tmp_path / "best"))
    verdicts = best.read_json("verdicts.json")
    (sweep,) = [question for question in verdicts["questions"] if question["id"] == "lr"]
    sweep["sweep"]["best"], sweep["comparisons"] = "control", []
    best.write_json("verdicts.json", verdicts)
    row = next(row for row in verdict_rows(overview("best", best, Memory())) if row.question.id == "lr")
    assert (row.arm, row.verdict.text) == ("control", "no change")


def test_checks_that_say_the_same_share_a_line() -> None:
    check = schema.FiredCheck(code="P001", level="warning", title="t", where="a", message="m")
    alike = [check, check.model_copy(update={"where": "b"}), check.model_copy(update={"message": "n"})]
    assert [(each.message, where) for each, where in phrases.places(alike)] == [("m", "a and b"), ("n", "a")]


def test_the_pages_show_what_the_store_holds(server: Address, finished: Path) -> None:
    start = server.get("/", Accept="text/html").body.decode()
    assert "LeNet-5 on made-up images: which changes matter?" in start
    assert "finished: 36 runs" in start
    assert "must be valid TOML" in start
    page = server.get("/experiments/example", Accept="text/html").body.decode()
    verdicts = Results.open(finished / "example").read_json("verdicts.json")
    for question in verdicts["questions"]:
        assert question["asks"] in page
    assert page.count('class="strip"') == 5
    assert page.count('<tr><th scope="row">') == 9
    compared = server.get("/experiments/example/compare?first=control/0&second=lr-10", Accept="text/html").body.decode()
    assert "<code>optim.lr</code>" in compared
    assert compared.count("<img loading") == versus.MOST_IMAGES
    assert "Choose two arms" in server.get("/experiments/example/compare").body.decode()


def test_stale_verdicts_are_called_so(finished: Path, tmp_path: Path) -> None:
    results = Results.open(shutil.copytree(finished / "example", tmp_path / "r"))
    verdicts = results.read_json("verdicts.json")
    verdicts["arms"]["relu"]["runs"] = 3
    results.write_json("verdicts.json", verdicts)
    with serving(tmp_path / "r") as server:
        page = server.get("/experiments/r", Accept="text/html").body.decode()
    assert "These verdicts are of 35 runs, and 36 have ended by now." in page


def test_a_damaged_file_is_named(server: Address, tmp_path: Path) -> None:
    reply = server.get("/api/experiments/damaged")
    assert reply.status == 500
    assert "must be valid TOML" in reply.error
    results = write_results(tmp_path / "r", example_experiment(seeds=1, epochs=1), {"control": 0.8})
    (results.run_folder("relu", 0) / "result.json").write_text("{")
    with serving(tmp_path) as other:
        assert re.search("result.json` is damaged and cannot be read", other.get("/api/experiments/r/progress").error)
        listed = other.get("/api/experiments").json
        assert [(each["folder"], each["progress"]) for each in listed] == [("r", None)]
        assert "result.json` is damaged" in listed[0]["problem"]


def test_without_a_report_there_is_none_to_show(tmp_path: Path) -> None:
    write_results(tmp_path / "r", example_experiment(seeds=1, epochs=1), {"control": 0.8})
    with serving(tmp_path) as server:
        assert "Open the report" not in server.get("/experiments/r").body.decode()
        reply = server.get("/experiments/r/report")
    assert reply.error == "`r` must have a report, but has none yet. `paribus run` writes it when it ends."


def test_what_has_not_changed_is_not_sent_again(server: Address) -> None:
    own = ("/", "/experiments/example", "/api/experiments/example/progress")
    for path in (*own, "/static/style.css", "/static/plotly.js"):
        first = server.get(path)
        again = server.get(path, If_None_Match=first.headers["etag"])
        assert (first.status, again.status, again.body) == (200, 304, b"")
    assert "immutable" in server.get("/static/plotly.js").headers["cache-control"]


def test_head_answers_without_a_body(server: Address) -> None:
    reply = server.send("HEAD", "/experiments/example")
    assert reply.status == 200
    assert reply.body == b""
    assert int(reply.headers["content-length"]) > 1000
    assert server.send("HEAD", "/experiments/none").status == 404


def test_a_new_result_appears_without_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert "There is no result in" in server.get("/").body.decode()
        results = write_results(tmp_path / "new", example_experiment(seeds=1, epochs=1), {"control": 0.8})
        assert server.get("/api/experiments/new").json["seeds"] == [0]
        text = (results.folder / "experiment.toml").read_text()
        (results.folder / "experiment.toml").write_text(text.replace("made-up", "other"))
        assert "other images" in server.get("/api/experiments/new").json["title"]


def test_the_api_is_described(server: Address) -> None:
    described = server.get("/openapi.json").json
    paths = described["paths"]
    assert sorted(paths) == [
        "/api/experiments",
        "/api/experiments/{name}",
        "/api/experiments/{name}/compare",
        "/api/experiments/{name}/curves",
        "/api/experiments/{name}/images/{data}/{index}",
        "/api/experiments/{name}/progress",
        "/api/try",
    ]
    assert {path: [*methods] for path, methods in paths.items()} == {path: ["get"] for path in paths} | {
        "/api/try": ["post"]
    }
    page = server.get("/api", Accept="text/html").body.decode()
    assert all(f"{'POST' if path == '/api/try' else 'GET'} {path}" in page for path in paths)
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", page)
    schema.Progress.model_validate(server.get("/api/experiments/example/progress").json)
    schema.ExperimentAnswer.model_validate(server.get("/api/experiments/example").json)
    schema.Curves.model_validate(server.get("/api/experiments/example/curves").json)
    schema.Confrontation.model_validate(
        server.get("/api/experiments/example/compare?first=relu/0&second=control/1").json
    )


def test_nothing_comes_from_elsewhere(server: Address) -> None:
    for path in ("/", "/experiments/example", "/experiments/example/compare?first=control&second=relu", "/api"):
        page = server.get(path, Accept="text/html").body.decode()
        assert re.findall(r'(?:src|href|action)="([^"]*)"', page)
        assert [a for a in re.findall(r'(?:src|href|action)="([^"]*)"', page) if not re.match(r"[/#?]", a)] == []
        assert not re.search(r"<script(?![^>]*src=)", page)
        assert not re.search(r"\sstyle=|\son\w+=", page)


def test_the_policy_names_the_styles_that_plotly_brings() -> None:
    empty, maps = plotly_styles()
    assert empty == ""
    assert maps.startswith(".maplibregl-map{")
    policy = Rules(styles=("",)).headers()["Content-Security-Policy"]
    assert "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='" in policy


def test_one_result_folder_is_served_under_its_own_name(finished: Path) -> None:
    assert list(Catalogue(finished).folders()) == ["damaged", "example"]
    assert list(Catalogue(finished / "example").folders()) == ["example"]
    with pytest.raises(StoreError, match=r"A result folder, or a folder of them, must exist, but `.*nothing` does not"):
        Catalogue(finished / "nothing")


def test_an_opened_folder_is_kept_until_it_changes(finished: Path) -> None:
    catalogue = Catalogue(finished)
    assert catalogue.open("example") is catalogue.open("example")


def test_a_taken_port_is_told_and_by_default_another_is_taken() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"must be .* a free port, but .* {port} cannot be listened"):
            listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match="Leave both out to take a free port for this machine only"):
        listen("no.such.host.invalid", 0)


def test_the_usual_port_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen("127.0.0.1", 0) as first:
        monkeypatch.setattr("paribus.web.server.DEFAULT_PORT", first.getsockname()[1])
        with listen("127.0.0.1", None) as second:
            assert second.getsockname()[1] not in (0, first.getsockname()[1])


def test_a_missing_extra_prints_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(ConfigError, match="needs the extra `web`, but `uvicorn` is not installed"):
        require_extra()
    assert main(["serve", str(tmp_path)]) == 2
    assert capsys.readouterr().err.rstrip().endswith("Install it: pip install 'paribus[web]'")


def test_the_command_serves_until_it_is_interrupted(finished: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "paribus", "serve", str(finished), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.match(r"paribus serves http://127\.0\.0\.1:(\d+)  \(Ctrl-C ends it\)", process.stdout.readline())
        assert found
        assert Address(int(found[1])).get("/").status == 200
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (0, "")


def test_the_browser_is_opened_if_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    browser.announcing(False)("http://127.0.0.1:1")
    browser.announcing(True)("http://127.0.0.1:2")
    for _ in range(100):
        if opened:
            break
        time.sleep(0.01)
    assert opened == ["http://127.0.0.1:2"]
    assert "paribus serves http://127.0.0.1:1" in capsys.readouterr().out


def test_the_numbers_in_the_docs() -> None:
    docs = Path(__file__).parents[1] / "docs"
    how, why = ((docs / name).read_text(encoding="utf-8") for name in ("serve.md", "decisions/web.md"))
    script = (resources.files("paribus.web") / "static" / "live.js").read_text(encoding="utf-8")
    assert f"127.0.0.1:{DEFAULT_PORT}/" in how
    assert (live.PATIENCE_S, "within the last minute" in how) == (60, True)
    assert (live.EPOCHS_OF_PATIENCE, "within three of\nits own epochs" in how) == (3, True)
    running, resting = (int(ms) // 1000 for ms in re.findall(r"^const R\w+_MS = (\d+);", script, re.MULTILINE))
    assert f"every {running} seconds while something runs,\nand every {resting} otherwise" in why
    assert f"Bodies above {MOST_BYTES // 2**20} MiB" in why
    assert f"headers above\n  {MOST_HEADER_BYTES // 2**10} KiB" in why
    plotly = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    assert f"It is {round(len(plotly) / 1e6)} MB" in why


def test_an_arm_of_many_keys_is_told_in_short(finished: Path) -> None:
    about = overview("example", Results.open(finished / "example"), Memory())
    factors = {f"train.key{place}": "1" for place in range(5)}
    many = about.model_copy(update={"arms": [arm.model_copy(update={"factors": factors}) for arm in about.arms]})
    row = next(verdict_rows(many))
    assert row.small == "train.key0 = 1; train.key1 = 1; train.key2 = 1; and 2 more keys"
