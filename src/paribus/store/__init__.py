"""The result folder: what runs wrote, atomically, and everything that later steps read.

    results/<name>/
      experiment.toml  environment.json  verdicts.json  report.md  report.html
      sessions.jsonl                                 how long each call that trained has worked
      data/<fingerprint>.npz                         the test set: labels, class names, images
      runs/<arm>/<seed>/  config.json epochs.jsonl times.jsonl result.json predictions.npz probes.json
                          model.safetensors  with what it takes to use it in its metadata
      tuning/<arm>.json                              what was found before the runs, where a value was left to be found
      ranges/<arm>.json                              the learning-rate range test, where rates are asked about
      tuning/<arm>/<rate>/<seed>/  config.json epochs.jsonl times.jsonl result.json
      tensorboard/  mlruns/                          what sinks show, where they were asked for
      superseded/<arm>/<seed>-<digest>/              runs of an earlier recipe, kept but not read
      superseded/verdicts-<digest>.json              verdicts that counted such runs

`epochs.jsonl` and `predictions.npz` are the same, bit for bit, however often a run was interrupted; wall times are in
`times.jsonl` and `result.json`.
"""

from __future__ import annotations

from paribus.store.model_file import ModelHeader, read_model, write_model
from paribus.store.ranges import RangeTest
from paribus.store.records import (
    Arrays,
    Checkpoint,
    EpochRecord,
    LayerProbe,
    Predictions,
    Probes,
    RunResult,
    TestSet,
    TuningResult,
    Usage,
    WallTime,
)
from paribus.store.results import Results, State
from paribus.store.run import Run, RunSoFar, RunWriter, TuningRun, config_of
from paribus.store.tuning import EpochsChoice, MadeFor, RateChoice, TriedRate, Tuning
from paribus.store.verdict_file import FORMAT, is_of, read_verdicts

__all__ = [
    "FORMAT",
    "Arrays",
    "Checkpoint",
    "EpochRecord",
    "EpochsChoice",
    "LayerProbe",
    "MadeFor",
    "ModelHeader",
    "Predictions",
    "Probes",
    "RangeTest",
    "RateChoice",
    "Results",
    "Run",
    "RunResult",
    "RunSoFar",
    "RunWriter",
    "State",
    "TestSet",
    "TriedRate",
    "Tuning",
    "TuningResult",
    "TuningRun",
    "Usage",
    "WallTime",
    "config_of",
    "is_of",
    "read_model",
    "read_verdicts",
    "write_model",
]
