"""Trained models in use: loading them, preparing images as the data reader does, classifying these."""

from __future__ import annotations

from pathlib import Path

from paribus.errors import ConfigError, StoreError, missing
from paribus.paths import expanded
from paribus.predict.classified import Classified
from paribus.predict.onnx_model import OnnxModel
from paribus.predict.preparation import Preparation, Source
from paribus.predict.torch_model import TorchModel
from paribus.predict.trained import NegativeWarning, TrainedModel
from paribus.store import read_model

__all__ = ["Classified", "NegativeWarning", "Preparation", "Source", "TrainedModel", "load"]

WEIGHTS, ONNX = ".safetensors", ".onnx"


def load(path: str | Path) -> TrainedModel:
    """Load a trained model.

    Args:
        path: A run's folder, such as ``results/lenet-digits/runs/control/0``, the `model.safetensors` in it, or a file
            that `paribus export` wrote.

    Raises:
        ConfigError: If there is nothing of the kind.
        StoreError: If the run is not finished, or the file is damaged or does not say how it is to be used.
        ModelError: If the network cannot be built, or the user's class or the weights do not fit.
        WeightsError: If the backbone of a head that was solved for cannot be found.
    """
    file = _file_of(expanded(path))
    if file.suffix == ONNX:
        return OnnxModel(file)
    header, arrays = read_model(file)
    return TorchModel(header, arrays, file)


def _file_of(path: Path) -> Path:
    if path.is_dir():
        return _in_folder(path)
    if not path.exists():
        advice = "Give a run's folder, or a file that `paribus export` wrote."
        raise ConfigError(missing("A model", path, advice))
    if path.suffix not in (WEIGHTS, ONNX):
        raise ConfigError(
            f"A model must be a run's folder, or a {WEIGHTS} or {ONNX} file that paribus wrote, but got `{path}`. "
            "Correct the path."
        )
    return path


def _in_folder(folder: Path) -> Path:
    runs = sorted(folder.glob("runs/*/*/result.json"))
    if (folder / "experiment.toml").exists():
        example = f", such as `{runs[0].parent}`" if runs else ""
        raise ConfigError(f"A model must be one run, but `{folder}` is a whole result. Give a run's folder{example}.")
    if not (folder / "result.json").exists():
        raise StoreError(
            f"`{folder}` must be the folder of a finished run, but it holds no `result.json`. Finish the run with "
            "`paribus run`, or correct the path."
        )
    return folder / f"model{WEIGHTS}"
