"""MLflow: an experiment for ours, a parent run for each arm, and in it a run for each seed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from paribus.config import Recipe
from paribus.store import Results, RunSoFar
from paribus.track.sink import Held, Sink

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

_FOLDER = "mlruns"
_MOST_PARAMS = 100
_MOST_METRICS = 1000


class MLflow(Sink):
    """Writes to ``<results>/mlruns``, or to the store or server that MLFLOW_TRACKING_URI names.

    Runs are recognised by the digest in a tag, parents by arm and recipe; MLflow's own figures of its use stay off.
    """

    def __init__(self, results: Results) -> None:
        _keep_quiet()
        from mlflow.tracking import MlflowClient

        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or (results.folder / _FOLDER).absolute().as_uri()
        self.client = MlflowClient(self.uri)
        self.name = results.experiment.name
        known = self.client.get_experiment_by_name(self.name)
        self._experiment = None if known is None else known.experiment_id
        self._parents: dict[str, MlflowRun] = {}
        self._children: dict[str, MlflowRun] = {}
        for run in self._stored():
            tags = run.data.tags
            if _DIGEST in tags:
                self._children[f"{tags[_ARM]}/{tags[_DIGEST]}"] = run
            elif _RECIPE in tags:
                self._parents[f"{tags[_ARM]}/{tags[_RECIPE]}"] = run
        self._seen: dict[str, str] = {}  # The ids of the parents by arm, of the runs that were met this time.
        self._open: set[str] = set()

    @property
    def where(self) -> str:
        """The address of the store, and for a folder the command that shows it."""
        if not self.uri.startswith("file:"):
            return self.uri
        return f"MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri {self.uri}"

    def held(self, run: RunSoFar) -> Held:
        """Count the steps of a figure that every epoch has."""
        known = self._children.get(run.key)
        if known is None:
            return Held()
        self._seen[run.arm] = known.data.tags[_PARENT]
        history = self.client.get_metric_history(known.info.run_id, "train_accuracy")
        return Held(max((each.step for each in history), default=0), known.info.status == "FINISHED")

    def bring(self, run: RunSoFar, held: Held) -> None:
        """Log figures epoch by epoch, at the times at which the epochs ended."""
        identity = self._child(run)
        metrics = []
        for record in run.epochs[held.epochs :]:
            values = {key: getattr(record, key) for key in _METRICS}
            metrics += _metrics(values, run.ended_at(record.epoch), record.epoch)
        if run.result is not None:
            values = {key: getattr(run.result, key) for key in _RESULTS}
            metrics += _metrics(values, run.ended_at(len(run.epochs)), run.result.epoch_kept)
        for begin in range(0, len(metrics), _MOST_METRICS):
            self.client.log_batch(identity, metrics=metrics[begin : begin + _MOST_METRICS])
        if run.result is not None:
            self.client.set_tag(identity, "paribus.status", run.result.status)
            self.client.set_terminated(identity, "FINISHED", _milliseconds(run.ended_at(len(run.epochs))))
            self._open.discard(identity)

    def verdicts(self, verdicts: Mapping[str, Any]) -> None:
        """Tag the parents with their verdicts, and give them the means over seeds."""
        for arm, parent in self._seen.items():
            entry = verdicts["arms"].get(arm)
            if entry is None:
                continue
            known = self.client.get_run(parent).data.metrics
            means = {f"mean_{metric}": entry[metric]["mean"] for metric in ("test_accuracy", "test_loss")}
            new = {key: value for key, value in means.items() if value != known.get(key)}
            self.client.log_batch(parent, metrics=_metrics(new, time.time(), 0))
            for question, verdict in _verdicts_of(arm, verdicts):
                self.client.set_tag(parent, f"paribus.verdict.{question}", verdict)
            self.client.set_terminated(parent, "FINISHED")
            self._open.discard(parent)

    def close(self) -> None:
        """Mark what has not ended as killed; the next time it runs again."""
        while self._open:
            self.client.set_terminated(self._open.pop(), "KILLED")

    def _child(self, run: RunSoFar) -> str:
        """Return the id of a run, made where there is none."""
        known = self._children.get(run.key)
        if known is None:
            parent = self._parent(run)
            tags = {_DIGEST: run.digest, _ARM: run.arm, _PARENT: parent, "paribus.engine": run.config["engine"]}
            params = {**_params(run), "seed": run.seed}
            known = self._children[run.key] = self._create(f"{run.arm}/{run.seed}", tags, params, run.ended_at(0))
        elif known.info.run_id not in self._open:
            self.client.update_run(known.info.run_id, status="RUNNING")
        self._open.add(known.info.run_id)
        return str(known.info.run_id)

    def _parent(self, run: RunSoFar) -> str:
        """Return the id of the arm's run, made where there is none."""
        recipe = json.dumps(Recipe.parse(run.config["recipe"]).identity(), sort_keys=True)
        digest = hashlib.sha256(recipe.encode()).hexdigest()
        key = f"{run.arm}/{digest}"
        if key not in self._parents:
            tags = {_ARM: run.arm, _RECIPE: digest}
            self._parents[key] = self._create(run.arm, tags, _params(run), run.ended_at(0))
            self._open.add(self._parents[key].info.run_id)
        self._seen[run.arm] = self._parents[key].info.run_id
        return self._seen[run.arm]

    def _create(self, name: str, tags: Mapping[str, str], params: Mapping[str, Any], begun: float) -> MlflowRun:
        from mlflow.entities import Param

        if self._experiment is None:
            self._experiment = self.client.create_experiment(self.name)
        run = self.client.create_run(self._experiment, _milliseconds(begun), dict(tags), name)
        every = [Param(key, str(value)) for key, value in params.items()]
        for begin in range(0, len(every), _MOST_PARAMS):
            self.client.log_batch(run.info.run_id, params=every[begin : begin + _MOST_PARAMS])
        return run

    def _stored(self) -> Iterator[MlflowRun]:
        """Read the runs of the experiment, page by page."""
        token = None
        while self._experiment is not None:
            page = self.client.search_runs([self._experiment], page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def _keep_quiet() -> None:
    """Set what must be set before MLflow is imported: nothing phones home, and a folder may be the store."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    # The default, seven times with growing pauses, would keep a finished experiment waiting for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")


def _params(run: RunSoFar) -> dict[str, Any]:
    """The recipe as flat keys, without what is off."""
    tables = run.config["recipe"].items()
    return {f"{table}.{key}": value for table, keys in tables for key, value in keys.items() if value is not None}


def _metrics(values: Mapping[str, float | None], wall_time: float, step: int) -> list[Any]:
    from mlflow.entities import Metric

    at = _milliseconds(wall_time)
    return [Metric(key, float(value), at, step) for key, value in values.items() if value is not None]


def _milliseconds(wall_time: float) -> int:
    return int(1000 * wall_time)


def _verdicts_of(arm: str, verdicts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for question in verdicts["questions"]:
        for comparison in question["comparisons"]:
            if comparison["arm"] == arm:
                yield question["id"], comparison["verdict"]


_DIGEST, _RECIPE, _ARM, _PARENT = "paribus.digest", "paribus.recipe", "paribus.arm", "mlflow.parentRunId"
_METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "gradient_norm")
_RESULTS = ("test_accuracy", "test_loss", "seconds")
