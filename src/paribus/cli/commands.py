"""The commands. Each one imports what it needs when it runs, so that help is printed at once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paribus import __version__
from paribus.cli.options import DataDirOption, WorkersOption, with_file_options, with_run_options

if TYPE_CHECKING:
    from paribus.config import Value
    from paribus.experiment import Experiment

ERROR_FIRED = 2
UNREADABLE = 2

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ExperimentArgument = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="A shipped name or a TOML path.")]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A run's folder, or an exported file.")]
ResultsArgument = Annotated[Path, typer.Argument(metavar="RESULTS", help="The folder that `paribus run` wrote.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting, such as control.train.epochs=5; repeatable."),
]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"paribus {__version__}")
        raise typer.Exit


@app.callback()
def paribus(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Run controlled experiments in training image classifiers. Change one thing, know what it did."""


@app.command()
@with_run_options
def run(
    experiment: ExperimentArgument,
    settings: SetOption = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="SINKS", help="Such as tensorboard,mlflow: shown epoch by epoch.")
    ] = None,
    *,
    options: Any,
) -> None:
    """Train what is missing, print the verdicts, write the report.

    An interrupted run goes on when the same command is run again.
    """
    from paribus import checks, track
    from paribus.cli import tables
    from paribus.launch import conduct
    from paribus.launch.progress import warn

    options = replace(options, log=track.names(log))
    loaded = _load(experiment, settings)
    warn(checks.design(loaded))
    results = conduct.run(loaded, options)
    tables.show_verdicts(results.read_json("verdicts.json"), results.folder)


@app.command()
@with_run_options
def plan(experiment: ExperimentArgument, settings: SetOption = None, *, options: Any) -> None:
    """Tell what a run would train, how long, and what it could show.

    Prints the smallest difference that the seeds and test images can show, and the checks that fire already.
    """
    from paribus.launch import conduct, planned

    planned.show(conduct.plan(_load(experiment, settings), options))


@app.command()
def check(
    target: Annotated[str, typer.Argument(metavar="EXPERIMENT|RESULTS", help="An experiment or a result folder.")],
    settings: SetOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Print the checks that fire.

    An experiment's data and networks are looked at without training, and nothing is downloaded. The exit status is 2 if
    a check of level error fires.
    """
    from paribus import checks, experiments, terminal
    from paribus.errors import ConfigError
    from paribus.launch import conduct
    from paribus.store import Results

    if Path(target).is_dir() and target not in experiments.names():
        if settings or data_dir is not None:
            raise ConfigError(
                f"--set and --data-dir must go with an experiment, but `{target}` is a result folder, whose settings "
                "and images are kept in it. Leave them out, or give the experiment."
            )
        results = Results.open(target)
        experiment, facts = results.experiment, results.facts()
        outcome = checks.outcome(results)
    else:
        experiment, outcome = _load(target, settings), []
        facts = conduct.look(experiment, data_dir)
    findings = [*checks.design(experiment), *checks.measured(experiment, facts), *outcome]
    terminal.show_findings(findings, () if facts is None else facts.unseen)
    if any(finding.outcome == "fired" and finding.level == "error" for finding in findings):
        raise typer.Exit(ERROR_FIRED)


@app.command()
@with_file_options
def audit(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A known data set, or a folder, zip or csv of images.")],
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="WEIGHTS", help="A backbone's sidecar, or hub:NAME; finds doubtful labels."),
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="REGEX|numbering", help="How file names tell groups.")
    ] = None,
    data_dir: DataDirOption = None,
    *,
    options: Any,
) -> None:
    """Find what is wrong with image files before training on them.

    Unreadable files, copies, groups shared between splits, imbalance, odd sizes and, with --weights, doubtful labels.
    The exit status is 2 if a finding is an error.
    """
    from paribus import audit as audits
    from paribus.cli import audit as output
    from paribus.cli import files

    found = audits.examine(data, audits.Options(weights=weights, group=group, data_dir=data_dir))
    output.show(found)
    if options.json is not None:
        output.write_json(found, options.json)
    if options.html is not None:
        files.write(options.html, audits.to_html(found, audits.find_files(data, data_dir)), "--html")
    if found.has_errors:
        raise typer.Exit(ERROR_FIRED)


@app.command()
@with_file_options
def probe(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A known data set, or a folder, zip or csv of images.")],
    weights: Annotated[
        list[str], typer.Option("--weights", metavar="WEIGHTS", help="A backbone's sidecar, or hub:NAME; repeatable.")
    ],
    size: Annotated[
        list[int] | None, typer.Option("--size", metavar="PIXELS", help="Input size; repeatable.  [the weights' own]")
    ] = None,
    test: Annotated[
        float | None, typer.Option("--test", metavar="SHARE", help="Draw a test split, which is not looked at.")
    ] = None,
    data_dir: DataDirOption = None,
    *,
    options: Any,
) -> None:
    """Rank pretrained backbones for a folder of images.

    By what a head on their features reaches in cross-validation on the training images, with the time per image,
    size and licence beside it.
    """
    from paribus.cli import files
    from paribus.cli import probe as output
    from paribus.report import ranking as page
    from paribus.transfer.ranking import rank

    keys: dict[str, Value] = {} if test is None else {"test": test}
    found = rank(data, weights, size or (), data_dir, **keys)
    output.show(found)
    if options.json is not None:
        output.write_json(found, options.json)
    if options.html is not None:
        files.write(options.html, page.to_html(found), "--html")


@app.command()
def predict(
    model: ModelArgument,
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Image files, folders, patterns; - reads names from stdin.")
    ],
    top: Annotated[
        int | None, typer.Option("--top", metavar="K", help="Classes told of each image.  [3, or as many as there are]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    invert: Annotated[bool, typer.Option("--invert", help="Let black and white change places first.")] = False,
) -> None:
    """Classify image files with a trained model.

    Images are prepared as those that it was trained on. Files that cannot be read are told on stderr, and the rest is
    done: the exit status is 2 then.
    """
    from paribus.cli import predict as output
    from paribus.predict import load
    from paribus.predict.classified import require_top
    from paribus.predict.files import classify_files, find_files

    form = output.form_of(as_json=as_json, as_csv=as_csv)
    loaded = load(model)
    k = min(output.TOP, len(loaded.class_names)) if top is None else require_top(top, loaded.class_names)
    found = find_files(output.names_of(paths, sys.stdin))
    tally = output.Tally()
    output.say_missing(found.missing, tally)
    answers = output.with_progress(classify_files(loaded, found.files, invert=invert), len(found.files))
    output.show(output.rows_of(answers, k, tally), form, loaded, tally)
    if tally.negatives and not invert:
        output.say(f"warning: {loaded.negatives_told(tally.negatives, tally.images)}")
    if tally.unreadable:
        output.say(output.end_told(tally))
        raise typer.Exit(UNREADABLE)


@app.command()
def export(
    model: ModelArgument,
    to: Annotated[str, typer.Option("--to", metavar="onnx|safetensors", help="The format.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to.  [EXPERIMENT-ARM-SEED.FORMAT here]")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="PATH", help="Images to compare on; repeatable.  [the result's test images]"),
    ] = None,
) -> None:
    """Write a trained model in a standard format, with proof.

    What was written is loaded again and compared with the model on real images. Where a class differs, or a
    probability by more than 0.0001, nothing is kept: the exit status is 1 then.
    """
    from paribus import export as exports

    done = exports.export(model, to, out, data or ())
    typer.echo(done.certificate.sentence)
    for file in done.files:
        typer.echo(f"wrote {file}")


@app.command()
def report(results: ResultsArgument) -> None:
    """Write the verdicts and the report anew, without training."""
    from paribus.cli import tables
    from paribus.launch import conduct
    from paribus.store import Results

    opened = Results.open(results)
    tables.show_verdicts(conduct.rebuild(opened), opened.folder)


@app.command()
def assignment(
    quick: Annotated[
        bool, typer.Option("--quick", help="In minutes, on parts of the data: settles nothing, and says so.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Run this experiment; repeatable.  [all five]")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for all results.")] = Path("results"),
    data_dir: DataDirOption = None,
    workers: WorkersOption = None,
) -> None:
    """Run a whole assignment and write the document that answers it.

    LeNet-5 on MNIST and Devanagari, dogs and cats, digits in sign language: what is missing is trained, experiment by
    experiment, and the document in DIR/assignment is written anew after each.
    """
    from paribus.assignment import Options
    from paribus.assignment import run as run_all
    from paribus.cli import assignment as output

    output.show(run_all(Options(out, data_dir, workers, quick, tuple(only or ()))))


@app.command()
def log(
    results: ResultsArgument,
    to: Annotated[str, typer.Option("--to", metavar="SINKS", help="Such as tensorboard,mlflow.")],
) -> None:
    """Bring a result to TensorBoard or MLflow.

    What is there already stays as it is, so the command may be given again.
    """
    from paribus import track
    from paribus.store import Results
    from paribus.track import tracker

    tracker.log(Results.open(results), track.names(to))


@app.command()
def gate(
    results: ResultsArgument,
    question: Annotated[str, typer.Option("--question", metavar="ID", help="The question to look at.")],
    expect: Annotated[str, typer.Option("--expect", metavar="VERDICTS", help="Such as better,equivalent.")],
    arm: Annotated[str | None, typer.Option("--arm", metavar="NAME", help="One arm.  [every compared arm]")] = None,
) -> None:
    """Compare verdicts with those expected, for CI.

    The exit status is 3 if an arm has another verdict. Nothing is computed anew: `paribus report` does that.
    """
    from paribus.cli.gate import expected_verdicts, judge
    from paribus.errors import GateError
    from paribus.store import Results

    judged = judge(Results.open(results).verdicts(), question, expected_verdicts(expect), arm)
    for each in judged:
        typer.echo(each.line)
    unmet = sum(not each.is_met for each in judged)
    if unmet:
        raise GateError(
            f"Every verdict on `{question}` must be among those expected, but {unmet} of {len(judged)} "
            f"{'is' if unmet == 1 else 'are'} not. Expect what was found, or look at the report."
        )


@app.command()
def serve(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="A result folder, or a folder of them.")],
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, metavar="PORT", help="0 for any free one.  [8765, or a free one]"),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show experiments in the browser, live while they train.

    Reads the result folders and writes nothing. Ctrl-C ends it.
    """
    from paribus.cli.browser import announcing
    from paribus.web.server import serve as serve_

    serve_(results, host, port, announcing(open_))


@app.command(name="list")
def list_(
    subject: Annotated[str, typer.Argument(metavar="experiments|data|models|checks", help="What to list.")],
) -> None:
    """List the experiments, data sets, models or checks there are."""
    from paribus.cli import tables

    tables.show_list(subject)


@app.command()
def explain(code: Annotated[str, typer.Argument(metavar="CODE", help="A check's code, such as P004.")]) -> None:
    """Explain a check: why it matters and what to do."""
    from paribus.cli import tables

    tables.show_check(code)


def _load(name: str, settings: list[str] | None) -> Experiment:
    from paribus import experiments
    from paribus.experiment import Experiment

    return Experiment.load(experiments.find(name), settings or ())
