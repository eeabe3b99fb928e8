"""One export from beginning to end: the file, looked at before it is kept, and what lies beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paribus.errors import ConfigError, DataError, one_of
from paribus.export.card import model_card
from paribus.export.certificate import Certificate, certify
from paribus.export.graph import onnx_bytes
from paribus.export.outside import description
from paribus.predict import TrainedModel, load
from paribus.predict.files import find_files
from paribus.predict.preparation import Pixels, in_one_array
from paribus.store import Results, files, write_model


@dataclass(frozen=True)
class Exported:
    """What was written, the model first, and the certificate."""

    files: tuple[Path, ...]
    certificate: Certificate


def export(path: str | Path, to: str, out: Path | None = None, data: Sequence[str] = ()) -> Exported:
    """Export a trained model, if what was exported says the same of real images.

    Beside the file `NAME.onnx` or `NAME.safetensors` are its certificate, which ends in `.certificate.json`, and
    `NAME.preprocessing.json` or the model card `NAME.md`.

    Args:
        path: The model, as `paribus.load` takes it.
        to: ``"onnx"``, or ``"safetensors"``, which holds the backbone of a solved head too.
        out: The file; None for ``EXPERIMENT-ARM-SEED`` in the working directory.
        data: Names of image files, folders or patterns to compare on; without any, the test images of the result.

    Raises:
        ConfigError: If the format or the file's name is not known, or there are no images to compare on.
        DataError: If an image cannot be read.
        ExportError: If the network cannot be exported, or what was exported disagrees. Then no file is left.
        StoreError: If a file cannot be read or written.
        ModelError: If the model cannot be loaded, or is an ONNX graph already.
    """
    if to not in FORMATS:
        raise ConfigError(one_of("The format of an export", FORMATS, to))
    model = load(path)
    header = model.header
    target = out or Path(f"{header.experiment}-{header.arm}-{header.seed}.{to}")
    if target.suffix != f".{to}":
        raise ConfigError(f"The file must end in .{to}, but got `{target}`. Name it so, or leave --out out.")
    images, source = _named(model, data) if data else _tested(model)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / target.name
        FORMATS[to](model, draft)
        certificate = certify(model, load(draft), images, source)
        files.make_folder(target.parent)
        files.write(target, draft.read_bytes())
    beside = target.with_name(f"{target.name}.certificate.json")
    files.write_json(beside, certificate.to_json())
    if to == "onnx":
        told = target.with_suffix(".preprocessing.json")
        files.write_json(told, description(model))
    else:
        told = target.with_suffix(".md")
        files.write(told, model_card(model, results_of(model.path), certificate).encode())
    return Exported((target, told, beside), certificate)


def results_of(path: Path) -> Results | None:
    """Return the result folder in which a run's weights lie, None where they lie alone."""
    folder = path.resolve().parents[3] if len(path.resolve().parents) > 3 else None
    return Results.open(folder) if folder is not None and (folder / "experiment.toml").exists() else None


def _tested(model: TrainedModel) -> tuple[Pixels, str]:
    results = results_of(model.path)
    if results is None:
        raise ConfigError(
            f"An export is compared with the model on real images, but `{model.path}` lies in no result folder that "
            "would have its test images. Name some with `--data PATH`."
        )
    test = results.test_set(model.header.data_fingerprint)
    return test.images, f"the test images of {test.source}"


def _named(model: TrainedModel, names: Sequence[str]) -> tuple[Pixels, str]:
    found = find_files(names)
    if found.missing:
        reasons = "; ".join(f"`{name}`: {reason}" for name, reason in found.missing.items())
        raise DataError(f"--data must name images, but there are none behind {reasons}. Correct it.")
    prepared = []
    for file in found.files:
        try:
            prepared.append(model.prepare(file))
        except DataError as error:
            raise DataError(f"`{file}` cannot be read: {error}. Take it out of --data.") from error
    return in_one_array(prepared), "the images that were named"


def _write_onnx(model: TrainedModel, file: Path) -> None:
    file.write_bytes(onnx_bytes(model))


def _write_safetensors(model: TrainedModel, file: Path) -> None:
    write_model(file, model.header, {name: tensor.numpy() for name, tensor in model.network.state_dict().items()})


FORMATS: dict[str, Callable[[TrainedModel, Path], None]] = {"onnx": _write_onnx, "safetensors": _write_safetensors}
