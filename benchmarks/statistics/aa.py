"""A against A on real training: experiments whose arms are the control again, with seeds of their own.

One pool of runs of lenet-digits' control (LeNet-5 on real 8x8 digits, shortened to 5 epochs) is trained once with 960
seeds. It is dealt out into experiments in which every run is used once, and each goes through the store and
`verdicts.compute` as any experiment does. No arm differs from its control, so every better or worse is false.

Run with: python benchmarks/statistics/aa.py POOL (a folder; continued if it is there, some minutes on two cores)
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paribus import experiments, verdicts
from paribus.experiment import Experiment, RunSpec
from paribus.launch.conduct import RunOptions, run
from paribus.store import Results, Run

HERE = Path(__file__).parent
POOL = 960
CONTROL = experiments.find("lenet-digits").read_text(encoding="utf-8").partition("[[question]]")[0]
EPOCHS = "control.train.epochs=5"
DEALS = ((7, 3), (3, 5), (1, 10))  # Comparisons and seeds of an experiment.


def pool(folder: Path) -> Results:
    """Train the pool, or what is missing of it."""
    return run(Experiment.parse(CONTROL, [EPOCHS, f"experiment.seeds={POOL}"]), RunOptions(out=folder))


def relabelled(comparisons: int, seeds: int) -> Experiment:
    """The same control with arms that only bear other names: a weight decay of 1e-12 or so changes nothing."""
    arms = "".join(f'arms.a{k} = {{ "optim.weight_decay" = {k}e-12 }}\n' for k in range(1, comparisons + 1))
    question = f'[[question]]\nid = "aa"\nasks = "Is it the same?"\n{arms}'
    return Experiment.parse(CONTROL + question, [EPOCHS, f"experiment.seeds={seeds}"])


def dealt(runs: Sequence[Run], comparisons: int, seeds: int) -> Iterator[list[Run]]:
    """Deal the pool out, every run once."""
    size = (comparisons + 1) * seeds
    return (list(runs[start : start + size]) for start in range(0, len(runs) - size + 1, size))


def judged(source: Results, runs: Sequence[Run], experiment: Experiment) -> list[str]:
    """Write the runs under the names of the arms; return the verdicts."""
    places = [(arm, seed) for arm in experiment.arms.values() for seed in experiment.seeds]
    with tempfile.TemporaryDirectory() as folder:
        results = Results.create(Path(folder) / "aa", experiment, source.environment)
        fingerprint = runs[0].config()["data_fingerprint"]
        results.write_test_set(fingerprint, source.test_set(fingerprint))
        for (arm, seed), each in zip(places, runs, strict=True):
            spec = RunSpec(arm.name, seed, arm.recipe, fingerprint, each.result.engine)
            writer = results.begin(spec)
            for record in each.epochs:
                writer.epoch(record, 0.0, {})
            result = replace(each.result, arm=arm.name, seed=seed, digest=spec.digest)
            writer.finish(result, each.predictions(), each.weights())
        entry = verdicts.compute(results)["questions"][0]
    return [comparison["verdict"] for comparison in entry["comparisons"]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pool", type=Path)
    source = pool(parser.parse_args().pool)
    runs = source.runs("control")
    rows: list[dict[str, Any]] = []
    for comparisons, seeds in DEALS:
        experiment = relabelled(comparisons, seeds)
        for number, hand in enumerate(dealt(runs, comparisons, seeds)):
            found = judged(source, hand, experiment)
            row = {"comparisons": comparisons, "seeds": seeds, "experiment": number}
            rows.append(row | {word: found.count(word) for word in ("better", "worse", "equivalent", "undecided")})
    with (HERE / "aa.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (HERE / "aa.json").write_text(json.dumps(source.environment, indent=1) + "\n")


if __name__ == "__main__":
    main()
