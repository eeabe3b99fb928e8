"""One run's folder: read by `Run`, written by `RunWriter`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save as safetensors_save

from paribus.errors import StoreError
from paribus.experiment import RunSpec
from paribus.store import files
from paribus.store.model_file import ModelHeader, write_model
from paribus.store.records import (
    Arrays,
    Checkpoint,
    EpochRecord,
    LayerProbe,
    Predictions,
    Probes,
    RunResult,
    TuningResult,
    Usage,
)


@dataclass(frozen=True)
class Run:
    """One finished or diverged run as the store holds it."""

    folder: Path
    result: RunResult
    epochs: tuple[EpochRecord, ...]

    def predictions(self) -> Predictions:
        """Read the run's test predictions."""
        with files.reading_npz(self.folder / "predictions.npz") as arrays:
            return _fitting(arrays["logits"], arrays["labels"])

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Read the weights of the kept epoch, by parameter or buffer name."""
        return files.read_arrays(self.folder / "model.safetensors")

    def probes(self) -> Probes | None:
        """Read what was measured about the run's mechanism, None where nothing was: it diverged, or is of old."""
        path = self.folder / "probes.json"
        if not path.exists():
            return None
        content = files.read_json(path)
        with files.reading(path):
            layers = tuple(files.typed(LayerProbe, each, path) for each in content.pop("layers", ()))
        return files.typed(Probes, {**content, "layers": layers}, path)

    def config(self) -> dict[str, Any]:
        """Read `config.json`: digest, recipe and what else decided the result."""
        path = self.folder / "config.json"
        content = files.read_json(path)
        with files.reading(path):
            return content | {key: content[key] for key in _CONFIG_KEYS}

    @property
    def epoch_seconds(self) -> tuple[float, ...]:
        """Wall seconds of each epoch."""
        return epoch_seconds(self.folder)


@dataclass(frozen=True)
class RunSoFar:
    """One run as far as it has got: `result` is None until it ends.

    `config` is `config.json`. `last_end` is when the last epoch ended, in seconds since 1970, `epoch_seconds` what
    each one took.
    """

    config: Mapping[str, Any]
    epochs: tuple[EpochRecord, ...]
    epoch_seconds: tuple[float, ...]
    last_end: float
    result: RunResult | None

    @property
    def arm(self) -> str:
        """The name of its arm."""
        return str(self.config["arm"])

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.config["seed"])

    @property
    def digest(self) -> str:
        """What decides its result."""
        return str(self.config["digest"])

    @property
    def key(self) -> str:
        """Arm and digest: two arms may come to the same recipe, as where a rate is found that another arm has."""
        return f"{self.arm}/{self.digest}"

    def ended_at(self, epoch: int) -> float:
        """Return when an epoch ended, or with 0 when training began: reckoned back without interruptions."""
        return self.last_end - sum(self.epoch_seconds[epoch:])


@dataclass(frozen=True)
class TuningRun:
    """One finished or diverged tuning run as the store holds it."""

    folder: Path
    result: TuningResult
    epochs: tuple[EpochRecord, ...]


def config_of(spec: RunSpec) -> dict[str, Any]:
    """Return what decides the result of a run, as `config.json` holds it beside the digest."""
    return {
        "arm": spec.arm,
        "seed": spec.seed,
        "recipe": spec.recipe.model_dump(mode="json"),
        "data_fingerprint": spec.data_fingerprint,
        "engine": spec.engine,
        "model_code": spec.model_code,
    }


class RunWriter:
    """Writes one run's folder; every method leaves it whole if the process dies inside."""

    def __init__(self, folder: Path, spec: RunSpec, experiment: str) -> None:
        self.folder = folder
        self.spec = spec
        self.experiment = experiment

    def resume(self) -> Checkpoint | None:
        """Return where to go on, or None to begin; cuts records that are newer than the checkpoint."""
        path = self.folder / "checkpoint.safetensors"
        parts = (path, self.folder / "epochs.jsonl", self.folder / "times.jsonl")
        if not all(part.exists() for part in parts):
            for part in parts:
                part.unlink(missing_ok=True)
            return None
        arrays = files.read_arrays(path)
        epoch = int(arrays.pop("epoch"))
        for name in ("epochs.jsonl", "times.jsonl"):
            lines = files.read_lines(self.folder / name)[:epoch]
            if len(lines) < epoch:
                raise StoreError(
                    f"`{self.folder / name}` must hold the {epoch} epochs of the checkpoint, but holds {len(lines)}. "
                    "Delete the run's folder and run the experiment again."
                )
            files.write(self.folder / name, "".join(files.line(line) for line in lines).encode())
        return Checkpoint(epoch, arrays)

    def epoch(self, record: EpochRecord, seconds: float, arrays: Arrays) -> None:
        """Append an epoch's record, then make it the one to go on from."""
        files.append(self.folder / "epochs.jsonl", asdict(record))
        files.append(self.folder / "times.jsonl", {"epoch": record.epoch, "seconds": round(seconds, 4)})
        whole = {**arrays, "epoch": np.asarray(record.epoch)}
        files.write(self.folder / "checkpoint.safetensors", safetensors_save(whole))

    def finish(
        self,
        result: RunResult,
        predictions: Predictions,
        weights: Arrays,
        probes: Probes | None = None,
        usage: Usage | None = None,
    ) -> None:
        """Write predictions, weights and probes, then the result, which makes the run finished.

        Without `usage` the weights do not say how they are to be used, and `paribus.load` refuses them.
        """
        buffer = io.BytesIO()
        np.savez(buffer, logits=predictions.logits, labels=predictions.labels)
        files.write(self.folder / "predictions.npz", buffer.getvalue())
        header = None if usage is None else ModelHeader.of(self.experiment, self.spec, usage)
        write_model(self.folder / "model.safetensors", header, weights)
        if probes is not None:
            files.write_json(self.folder / "probes.json", asdict(probes))
        self._end(result)

    def finish_tuning(self, result: TuningResult) -> None:
        """Write the result of a tuning run, which has nothing else to keep."""
        self._end(result)

    def _end(self, result: RunResult | TuningResult) -> None:
        files.write_json(self.folder / "result.json", asdict(result))
        (self.folder / "checkpoint.safetensors").unlink(missing_ok=True)
        (self.folder / "failure.txt").unlink(missing_ok=True)

    def fail(self, message: str) -> None:
        """Record why a run could not be trained; it is tried again by the next `paribus run`."""
        files.write(self.folder / "failure.txt", message.encode())


def epoch_seconds(folder: Path) -> tuple[float, ...]:
    """Read the wall seconds of each epoch in a run's folder."""
    path = folder / "times.jsonl"
    lines = files.read_lines(path)
    with files.reading(path):
        return tuple(float(line["seconds"]) for line in lines)


def _fitting(logits: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Predictions:
    is_whole = logits.ndim == 2 and labels.shape == logits.shape[:1]
    if not is_whole or np.setdiff1d(labels, np.arange(logits.shape[1])).size:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not belong together")
    return Predictions(logits, labels)


_CONFIG_KEYS = ("digest", "recipe", "data_fingerprint")
"""What is read of `config.json`, whichever version wrote it."""
