"""A trained network from an ONNX file of ours, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from paribus.errors import ModelError, StoreError
from paribus.evaluate import BATCH, PIXELS
from paribus.predict.preparation import Pixels
from paribus.predict.trained import TrainedModel
from paribus.store import ModelHeader
from paribus.store.files import reading
from paribus.store.model_file import KEY
from paribus.transfer.features import onnxruntime_errors


class OnnxModel(TrainedModel):
    """A trained network run by onnxruntime on the processor.

    Args:
        path: The file that `paribus export --to onnx` wrote.
        threads: How many work on one batch; None leaves that to onnxruntime.

    Raises:
        StoreError: If the file is missing or damaged, or does not say how its network is to be used.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        session = _session(path, threads)
        super().__init__(ModelHeader.from_text(session.get_modelmeta().custom_metadata_map.get(KEY), path), path)
        _require_fitting(session, self.header, path)
        self._session = session

    @property
    def network(self) -> nn.Module:
        """Raise: an ONNX graph is no network of torch's."""
        raise ModelError(
            f"A network of torch's is needed here, but `{self.path}` holds an ONNX graph. Load the run's folder, or a "
            "file that `paribus export --to safetensors` wrote."
        )

    def _logits(self, images: Pixels) -> npt.NDArray[np.float32]:
        step = max(1, min(BATCH, PIXELS // (images.shape[2] * images.shape[3])))
        parts = [images[start : start + step] for start in range(0, len(images), step)]
        return np.concatenate([self._session.run(["logits"], {"images": part})[0] for part in parts])


def _session(path: Path, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    with reading(path):
        content = path.read_bytes()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except onnxruntime_errors() as error:
        raise StoreError(
            f"`{path}` must be an ONNX file, but onnxruntime cannot read it: {str(error).splitlines()[0]} Export the "
            "model again."
        ) from error


def _require_fitting(session: Any, header: ModelHeader, path: Path) -> None:
    given = {each.name: each.shape[1:] for each in (*session.get_inputs(), *session.get_outputs())}
    classes = [len(header.class_names)]
    wanted = {"images": list(header.image_shape), "probabilities": classes, "logits": classes}
    if given != wanted:
        raise StoreError(
            f"The graph in `{path}` must have the inputs and outputs {wanted} that its metadata describe, but has "
            f"{given}. Export the model again."
        )
