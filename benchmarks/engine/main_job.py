"""The whole of lenet-mnist: how long `paribus run` takes from start to finish, and what torch would take for training.

The job is run and timed as a user runs it, into an empty folder. Then, with both processors busy, a few epochs of each
kind of recipe in it (network, optimiser, batch size; rates and numbers of epochs cost nothing) are timed by either
engine, alternating; the first epoch of a run is left out. Epochs that the job made, tuning included, times seconds per
epoch, shared by the workers, is what training takes.
Run with: python benchmarks/engine/main_job.py --results EMPTY_FOLDER, or for a job that has been timed before:
python benchmarks/engine/main_job.py --results FOLDER --wall-seconds SECONDS
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rows import write_rows

from paribus import data, experiments
from paribus.config import EPOCHS, Recipe
from paribus.engines import ENGINES
from paribus.experiment import Experiment, RunSpec
from paribus.launch import environment
from paribus.launch.launcher import EpochDone, Pack
from paribus.launch.local import LocalLauncher
from paribus.store import Results

HERE = Path(__file__).parent
WORKERS = 2
TIMED_EPOCHS = 3


def main() -> None:
    """Time the job and its parts, then write the rows, the environment and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--wall-seconds", type=float)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    wall = options.wall_seconds or timed_job(options.results)
    job = Results.open(options.results)
    rows = measured(job, options.rounds)
    write_rows(options.out / "main_job.csv", rows)
    job_environment = json.loads((options.results / "environment.json").read_text(encoding="utf-8"))
    about = environment.describe("native, torch", WORKERS, 1)
    about |= {"wall_seconds": round(wall), "job": job_environment, "runs": runs_of(job)}
    (options.out / "main_job.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    text = table(rows, wall)
    (options.out / "main_job.md").write_text(text, encoding="utf-8")
    print(text)


def timed_job(folder: Path) -> float:
    """Run the experiment into a folder that does not exist yet, and return how long it took."""
    if folder.exists():
        raise SystemExit(f"{folder} must not exist yet, or its time must be given as --wall-seconds.")
    command = [sys.executable, "-m", "paribus", "run", "lenet-mnist", "--workers", str(WORKERS), "--out", str(folder)]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - start


def kind_of(recipe: Recipe) -> tuple[str, ...]:
    """Return what decides how long an epoch takes."""
    model, optim = recipe.model.options, recipe.optim
    name = f"{optim.name} with momentum" if optim.momentum else optim.name
    return model["activation"], model["pooling"], name, str(recipe.train.batch_size)


def epochs_made(job: Results) -> Iterator[tuple[Recipe, int]]:
    """Yield the recipe and the epochs of every run of the job, tuning runs among them."""
    for arm in job.experiment.arms.values():
        for run in job.runs(arm.name):
            yield arm.recipe, run.result.epochs
        for path in (job.folder / "tuning" / arm.name).glob("*/*/result.json"):
            yield arm.recipe, json.loads(path.read_text(encoding="utf-8"))["epochs"]


def runs_of(job: Results) -> int:
    """Return how many runs the job made, tuning runs among them."""
    return sum(1 for _ in epochs_made(job))


def measured(job: Results, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each kind, engine, round and worker: the job's epochs of that kind, and seconds per epoch."""
    recipes: dict[tuple[str, ...], Recipe] = {}
    epochs: dict[tuple[str, ...], int] = {}
    for recipe, count in epochs_made(job):
        recipes.setdefault(kind_of(recipe), recipe)
        epochs[kind_of(recipe)] = epochs.get(kind_of(recipe), 0) + count
    rows = []
    for number, (kind, recipe), engine in itertools.product(range(rounds), recipes.items(), ("native", "torch")):
        for worker, seconds in enumerate(seconds_per_epoch(recipe, engine)):
            row = dict(zip(("activation", "pooling", "optimiser", "batch_size"), kind, strict=True))
            rows.append(row | {"engine": engine, "round": number, "worker": worker, "epochs": epochs[kind]})
            rows[-1]["seconds_per_epoch"] = round(seconds, 4)
            print(rows[-1], flush=True)
    return rows


def seconds_per_epoch(recipe: Recipe, engine: str) -> list[float]:
    """Train a run on each worker, all at once, and return the median seconds per epoch of each."""
    short = recipe.with_factors({EPOCHS: TIMED_EPOCHS, "train.engine": engine})
    prepared = data.prepare(short.data)
    identity = ENGINES[engine].identity
    specs = [RunSpec("arm", seed, short, prepared.fingerprint, identity) for seed in range(WORKERS)]
    experiment = Experiment.load(experiments.find("lenet-mnist"))
    found: dict[int, list[float]] = {seed: [] for seed in range(WORKERS)}
    with tempfile.TemporaryDirectory() as folder:
        results = Results.create(Path(folder) / "part", experiment, {})
        launcher = LocalLauncher(WORKERS)
        for news in launcher.launch([Pack((spec,), engine, prepared.folder) for spec in specs], results):
            if isinstance(news, EpochDone) and news.epoch > 1:
                found[news.spec.seed].append(news.seconds)
        launcher.close()
    return [statistics.median(seconds) for seconds in found.values()]


def table(rows: list[dict[str, Any]], wall: float) -> str:
    """Return the kinds with their epochs and seconds, and what training takes by either engine."""
    keys = ("activation", "pooling", "optimiser", "batch_size")
    kinds = list(dict.fromkeys(tuple(row[key] for key in keys) for row in rows))
    totals = {"native": 0.0, "torch": 0.0}
    lines = [
        f"`paribus run lenet-mnist`, from start to finish on {WORKERS} cores: {minutes(wall)}. Made by `main_job.py`.",
        "",
        "| activation | pooling | optimiser | batch | epochs made | native, s per epoch | torch, s per epoch | times |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        chosen = [row for row in rows if tuple(row[key] for key in keys) == kind]
        count = chosen[0]["epochs"]
        seconds = {
            engine: statistics.median(row["seconds_per_epoch"] for row in chosen if row["engine"] == engine)
            for engine in totals
        }
        for engine in totals:
            totals[engine] += count * seconds[engine] / WORKERS
        native, torch = seconds["native"], seconds["torch"]
        cells = [*kind, f"{count:,}", f"{native:.2f}", f"{torch:.2f}", f"{torch / native:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Training alone, by these: native {minutes(totals['native'])}, torch {minutes(totals['torch'])}."]
    return "\n".join(lines) + "\n"


def minutes(seconds: float) -> str:
    """Return hours and minutes."""
    whole = round(seconds / 60)
    return f"{whole // 60} h {whole % 60} min" if whole >= 60 else f"{whole} min"


if __name__ == "__main__":
    main()
