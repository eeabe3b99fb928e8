"""The command line: what it prints, where, and with which exit status."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from paribus import checks
from paribus.checks import Finding
from paribus.cli import main
from paribus.errors import ConfigError, RunError
from paribus.experiment import Experiment
from paribus.launch import conduct
from paribus.launch.conduct import RunOptions
from paribus.launch.planned import Plan, PlannedArm
from paribus.power import Detectable
from paribus.store import Results
from paribus.wording import NOTHING

MINUS = "\u2212"
EXPERIMENT = """
[experiment]
name = "small"
seeds = 12
margin = 0.01

[control]
data = { name = "digits", size = 28, val = 200 }
model = { name = "lenet5" }
optim = { lr = 0.1 }
train = { epochs = 3 }

[[question]]
id = "relu"
asks = "ReLU?"
arms.relu = { "model.activation" = "relu" }
"""
DETECTABLE = Detectable({12: 0.012}, 360, 7, "Assumed: this and that.")
LONG = (
    "Two arms were compared at one learning rate that was chosen for neither of them, which decides such comparisons."
)
VERDICTS: dict[str, Any] = {
    "format": 1,
    "experiment": "small",
    "arms": {
        name: {"runs": 12, "test_accuracy": {"mean": 0.98765, "ci95": [0.98, 0.995]}}
        for name in ("control", "relu", "long", "nothing")
    },
    "questions": [
        {
            "id": "relu",
            "comparisons": [
                {
                    "arm": "relu",
                    "metric": "test_accuracy",
                    "difference": 0.00114,
                    "ci95": [0.0002, 0.00208],
                    "verdict": "better",
                    "reason": None,
                },
                {
                    "arm": "long",
                    "metric": "test_loss",
                    "difference": -0.00321,
                    "ci95": [-0.01, 0.004],
                    "verdict": "undecided",
                    "reason": "Neither a difference nor equivalence is shown at 0.05.",
                    "p_equivalence": 0.2,
                    "seeds_needed": 40,
                    "test_images_needed": 20000,
                },
                {
                    "arm": "nothing",
                    "metric": "test_accuracy",
                    "difference": None,
                    "ci95": None,
                    "verdict": "invalid",
                    "reason": "P003: No run of the arm has ended.",
                },
            ],
        }
    ],
    "checks": [
        {"code": "P004", "outcome": "fired", "where": "relu", "message": LONG},
        {"code": "P005", "outcome": "passed", "where": "", "message": ""},
    ],
}


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT)
    return str(path)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    others = 'arms.long = { "train.epochs" = 30 }\narms.nothing = { "train.epochs" = 1 }\n'
    results = Results.create(tmp_path / "results", Experiment.parse(EXPERIMENT + others), {})
    results.write_json("verdicts.json", VERDICTS)
    return results


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, results: Results) -> list[tuple[Experiment, RunOptions]]:
    """Let `run` do nothing but note what was asked and give back a result."""
    noted = []

    def run(experiment: Experiment, options: RunOptions) -> Results:
        noted.append((experiment, options))
        return results

    monkeypatch.setattr(conduct, "run", run)
    return noted


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(experiment: Experiment, options: RunOptions) -> Results:
        raise error

    monkeypatch.setattr(conduct, "run", run)


def test_run_passes_everything_on(file: str, asked: list[tuple[Experiment, RunOptions]], tmp_path: Path) -> None:
    given = ["run", file, "--set", "control.train.epochs=5", "--set", "experiment.seeds=2", "--out", "there"]
    assert main([*given, "--data-dir", str(tmp_path), "--workers", "3", "--engine", "torch"]) == 0
    ((experiment, options),) = asked
    assert (experiment.control.train.epochs, experiment.seeds) == (5, (0, 1))
    assert options == RunOptions(Path("there"), tmp_path, 3, "torch")


def test_run_leaves_what_is_not_given_to_its_defaults(file: str, asked: list[tuple[Experiment, RunOptions]]) -> None:
    assert main(["run", file]) == 0
    assert asked[0][1] == RunOptions()


def test_run_names_the_checks_that_fire_before_training(
    tmp_path: Path, asked: list[tuple[Experiment, RunOptions]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "few.toml"
    path.write_text(EXPERIMENT.replace("seeds = 12", "seeds = 2"), encoding="utf-8")
    main(["run", str(path)])
    assert capsys.readouterr().err.startswith("P001 (warning), whole experiment: With 2 seeds")
    path.write_text(EXPERIMENT, encoding="utf-8")
    main(["run", str(path)])
    assert capsys.readouterr().err == ""
    assert len(asked) == 2


def test_run_takes_a_shipped_name(asked: list[tuple[Experiment, RunOptions]]) -> None:
    assert main(["run", "lenet-digits"]) == 0
    assert asked[0][0].name == "lenet-digits"


@pytest.mark.usefixtures("asked")
def test_run_prints_the_verdicts_within_100_columns(
    file: str, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", file]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == (
        "small: the control reaches 98.77 % test accuracy (mean of 12 runs, 95 % interval 98.00 to 99.50 %)"
    )
    ways_out = ["(about", "40", "seeds", "or", "20,000", "test", "images"]
    assert [line.split() for line in lines[2:7]] == [
        ["question", "arm", "difference", "95", "%", "interval", "verdict"],
        ["relu", "relu", "+0.11", "points", "+0.02", "to", "+0.21", "better"],
        ["relu", "long", f"{MINUS}0.0032", "nats", f"{MINUS}0.0100", "to", "+0.0040", "undecided", *ways_out],
        ["would", "decide)"],
        ["relu", "nothing", NOTHING, NOTHING, "invalid", "(see", "P003)"],
    ]
    assert lines[8].split() == ["check", "where", "message"]
    assert lines[9].startswith("P004   relu   Two arms were compared")
    assert not [line for line in lines if "P005" in line]
    assert lines[-1] == f"report: {results.folder / 'report.html'}"
    assert max(len(line) for line in lines[:-1]) <= 100
    assert not [line for line in lines if "\x1b" in line]


@pytest.mark.usefixtures("asked")
def test_a_terminal_without_the_minus_sign_shows_its_code(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True) as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main(["run", file]) == 0
        assert b"\\u22120.0032 nats" in terminal.buffer.getvalue()


def test_control_without_interval_or_accuracy(results: Results, capsys: pytest.CaptureFixture[str]) -> None:
    from paribus.cli.tables import show_verdicts

    for mean, text in ((0.5, "50.00 % test accuracy (mean of 1 run)"), (None, "no test accuracy (1 run)")):
        control = {"runs": 1, "test_accuracy": {"mean": mean, "ci95": None}}
        show_verdicts(VERDICTS | {"arms": {"control": control}, "checks": []}, results.folder)
        printed = capsys.readouterr().out
        assert text in printed
        assert "P004" not in printed


def test_an_error_is_one_line_without_a_traceback(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", file, "--set", "control.train.epochs=0"]) == 2
    printed = capsys.readouterr()
    assert printed.err == "error: `control.train.epochs` must be at least 1, but got 0.\n"
    assert printed.out == ""


def test_an_unknown_experiment_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "lenet-digts"]) == 2
    assert capsys.readouterr().err.endswith("but got `lenet-digts`. Did you mean `lenet-digits`?\n")


def test_a_failed_run_is_exit_status_1(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(RunError("Every run must end, but 1 of 4 failed."), monkeypatch)
    assert main(["run", file]) == 1
    assert capsys.readouterr().err == "error: Every run must end, but 1 of 4 failed.\n"


def test_an_interruption_is_exit_status_130(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(KeyboardInterrupt(), monkeypatch)
    assert main(["run", file]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


def test_an_interruption_during_imports_is_exit_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paribus.cli._run", interrupt)
    assert main(["run", "lenet-digits"]) == 130
    assert capsys.readouterr().err.startswith("interrupted: ")


def test_a_bug_is_named_as_one(file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(ZeroDivisionError("division by zero"), monkeypatch)
    assert main(["run", file]) == 1
    assert capsys.readouterr().err == (
        "error: This is a bug in paribus: ZeroDivisionError: division by zero\n"
        "Run the same command with --debug and report what it prints.\n"
    )


@pytest.mark.parametrize("where", [0, 2])
@pytest.mark.parametrize("error", [ConfigError("wrong"), ZeroDivisionError("wrong")])
def test_debug_shows_the_traceback(file: str, monkeypatch: pytest.MonkeyPatch, where: int, error: Exception) -> None:
    fail_with(error, monkeypatch)
    given = ["run", file]
    given.insert(where, "--debug")
    with pytest.raises(type(error), match="wrong"):
        main(given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["trian"], "A command must be one of run, plan,"),
        (["run"], "EXPERIMENT must be given, but is not. Add it: a shipped name or a TOML path.\nSee: paribus run"),
        (["run", "a.toml", "--epochs", "5"], "An option of `paribus run` must be one of --set, --log,"),
        (["run", "a.toml", "--workers", "0"], "--workers must be at least 1, but got `0`. Correct it."),
        (["list", "cats"], "What is listed must be one of experiments, data, models, checks, but got `cats`."),
        (["list", "modles"], "but got `modles`. Did you mean `models`?"),
    ],
)
def test_wrong_usage_is_exit_status_2(given: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    assert text in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    from paribus import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"paribus {__version__}\n"


def test_help_fits_and_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert "..." not in printed.partition("Commands:")[2]


def test_plan_says_what_is_ahead(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = [PlannedArm("control", "torch-1", 12, 0, 3, 41.4), PlannedArm("relu", "torch-1", 12, 7, 300, 1000.0)]
    fired = Finding("P001", "fired", "experiment", "12 seeds cannot show anything.")
    plan = Plan(arms, 2, 3725.0, [fired, Finding("P002", "passed", "experiment", "")], DETECTABLE)
    monkeypatch.setattr(conduct, "plan", lambda experiment, options: plan)
    assert main(["plan", file]) == 0
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    assert lines[1] == ["control", "torch-1", "0", "of", "12", "3", "41", "s"]
    assert lines[2] == ["relu", "torch-1", "7", "of", "12", "300", "16", "min", "40", "s"]
    assert "7 runs to do on 2 workers, in about 1 h 2 min." in printed
    assert "12 seeds cannot show anything." in printed
    assert "Smallest difference that 12 seeds and 360 test images can show: about 1.20 points, at 80 % power" in printed
    assert "Assumed: this and that." in printed
    assert "P002" not in printed


@pytest.mark.parametrize(
    ("missing", "workers", "seconds", "text"),
    [
        (0, 2, 0.0, "Every run is done."),
        (1, 1, 59.0, "1 run to do on 1 worker, in about 59 s."),
        (3, 4, 9000.0, "3 runs to do on 4 workers, in about 2 h 30 min."),
    ],
)
def test_plan_says_how_long(
    missing: int, workers: int, seconds: float, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from paribus.launch.planned import show

    show(Plan([PlannedArm("control", "torch-1", 3, missing, 3, 1.0)], workers, seconds, [], DETECTABLE))
    assert text in capsys.readouterr().out


def test_check_passes_a_fair_design(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", file]) == 0
    assert capsys.readouterr().out == "No check fires.\n"


def test_check_prints_what_fires(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", file, "--set", "experiment.seeds=2"]) == 0
    printed = capsys.readouterr().out
    assert "P001" in printed
    assert "warning" in printed


def test_check_of_level_error_is_exit_status_2(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = next(code for code, check in checks.CHECKS.items() if check.level == "error")
    for outcome, status in (("fired", 2), ("passed", 0)):
        findings = [Finding(code, outcome, "experiment", "wrong")]  # type: ignore[arg-type]
        monkeypatch.setattr(checks, "design", lambda experiment, found=findings: found)
        assert main(["check", file]) == status
        assert (code in capsys.readouterr().out) == (status == 2)


def test_check_says_what_it_could_not_look_at(
    file: str, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data that is not here is neither downloaded nor an error."""
    monkeypatch.delenv("PARIBUS_DATA", raising=False)
    assert main(["check", file, "--set", "control.data.name=mnist"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("not looked at: The data `mnist`: MNIST handwritten digits must be in one of the folders")
    assert "It is not downloaded only to be looked at." in printed
    assert printed.endswith("No check fires.")


def test_check_refuses_a_data_folder_that_is_none(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", file, "--data-dir", str(tmp_path / "nowhere")]) == 2
    assert "The data folder must exist, but" in capsys.readouterr().err


def test_check_finds_what_only_the_data_show(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", file, "--set", "experiment.margin=0.001"]) == 0
    assert "P022" in capsys.readouterr().out


def test_check_reads_results(
    results: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Finding("P002", "fired", "relu", "Something was seen in the runs.")]
    monkeypatch.setattr(checks, "outcome", lambda results: found)
    assert main(["check", str(results.folder)]) == 0
    assert "Something was seen in the runs." in capsys.readouterr().out
    for option in (["--set", "control.train.epochs=1"], ["--data-dir", "elsewhere"]):
        assert main(["check", str(results.folder), *option]) == 2
        said = capsys.readouterr().err
        assert f"--set and --data-dir must go with an experiment, but `{results.folder}` is a result" in said
        assert "Leave them out, or give the experiment." in said


def test_check_refuses_a_folder_that_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 2
    assert "A result folder must hold `experiment.toml`" in capsys.readouterr().err


def test_report_rebuilds(results: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rebuilt = []

    def rebuild(opened: Results) -> dict[str, Any]:
        rebuilt.append(opened.folder)
        return VERDICTS

    monkeypatch.setattr(conduct, "rebuild", rebuild)
    assert main(["report", str(results.folder)]) == 0
    assert rebuilt == [results.folder]
    assert "+0.11 points" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "status", "lines"),
    [
        (["--expect", "better", "--arm", "relu"], 0, ["relu: better, +0.11 points"]),
        (
            ["--expect", "better, undecided,invalid"],
            0,
            ["relu: better, +0.11 points", f"long: undecided, {MINUS}0.0032 nats", "nothing: invalid"],
        ),
        (
            ["--expect", "better,equivalent"],
            3,
            [
                "relu: better, +0.11 points",
                f"long: undecided, {MINUS}0.0032 nats; expected better or equivalent",
                "nothing: invalid; expected better or equivalent",
            ],
        ),
    ],
)
def test_the_gate_tells_what_was_found(
    given: list[str], status: int, lines: list[str], results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", str(results.folder), "--question", "relu", *given]) == status
    printed = capsys.readouterr()
    assert printed.out.splitlines() == lines
    unmet = "error: Every verdict on `relu` must be among those expected, but 2 of 3 are not."
    assert printed.err.startswith(unmet) if status else printed.err == ""


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--question", "relo", "--expect", "better"], "--question must be one of relu, but got `relo`. Did you mean"),
        (["--question", "relu", "--expect", "beter"], "but got `beter`. Did you mean `better`?"),
        (["--question", "relu", "--expect", " ,"], "--expect must name at least one of better, worse"),
        (["--question", "relu", "--expect", "better", "--arm", "lang"], "relu, long, nothing, but got `lang`. Did"),
    ],
)
def test_the_gate_refuses_what_there_is_not(
    given: list[str], text: str, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", str(results.folder), *given]) == 2
    assert text in capsys.readouterr().err


def test_the_gate_is_not_met_where_nothing_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a sweep only its best value is compared, and that may be the control's."""
    sweep = EXPERIMENT.partition("arms.relu")[0] + 'factor = "optim.lr"\nvalues = [0.1, 1.0]'
    results = Results.create(tmp_path / "results", Experiment.parse(sweep), {})
    question = {"id": "relu", "comparisons": [], "sweep": {"reason": "The control's own value is the best."}}
    arms = dict.fromkeys(results.experiment.arms, VERDICTS["arms"]["control"])
    results.write_json("verdicts.json", VERDICTS | {"questions": [question], "arms": arms})
    assert main(["gate", str(results.folder), "--question", "relu", "--expect", "equivalent"]) == 3
    printed = capsys.readouterr()
    assert printed.out == "relu: no arm is compared. The control's own value is the best.\n"
    assert "1 of 1 is not" in printed.err


@pytest.mark.parametrize(
    ("subject", "texts"),
    [
        ("experiments", ["lenet-digits", "lenet-mnist", "lenet-dhcd"]),
        ("data", ["mnist", "fashion-mnist", "60,000 + 10,000", "dhcd", "digits"]),
        ("models", ["lenet5", "lenet5-1998", "charcnn", "width = 32", "file.py:Class"]),
        ("checks", list(checks.CHECKS)),
    ],
)
def test_list_names_all_there_is(subject: str, texts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", subject]) == 0
    printed = capsys.readouterr().out
    assert [text for text in texts if text not in printed] == []
    assert max(len(line) for line in printed.splitlines()) <= 100


@pytest.mark.parametrize("code", ["P001", "p001"])
def test_explain_gives_the_page(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", code]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    check = checks.CHECKS["P001"]
    assert [text for text in (check.title, check.why, check.advice) if text not in printed] == []


def test_explain_offers_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "P0011"]) == 2
    assert "error: A check must be one of P001" in capsys.readouterr().err


def test_the_exit_status_reaches_the_shell() -> None:
    code = "import sys; from paribus.cli import main; sys.exit(main(['run', 'nothing.toml']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: An experiment file must exist, but `nothing.toml` does not (looked in `")
