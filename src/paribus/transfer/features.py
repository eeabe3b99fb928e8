"""What a frozen backbone makes of images, computed once and kept on disk by the digest of all that decides it."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paribus.errors import ModelError
from paribus.processes import available_cores
from paribus.transfer.backbone import Backbone, frozen, require_as_built
from paribus.transfer.feature_cache import BATCH, Array, Backend, Features, Wanted, cached

TOLERANCE = 1e-4
"""The largest difference between the two backends' features on a batch, as a share of the largest feature."""
TIMED_PASSES = 5
"""How often `Extractor.seconds_per_image` takes the time, of which the median counts."""


@dataclass(frozen=True)
class View:
    """One way in which images are changed before the backbone sees them.

    `name` says all that decides the change, seed and number of the view included: features are kept by it. `change`
    maps raw images uint8 (B, C, H, W) and their indices int64 (B,) to raw images, 0 to 255 as uint8 or float; it must
    give the same whenever it is called with the same.
    """

    name: str
    change: Callable[[Tensor, Tensor], Tensor]


class Extractor:
    """Computes the features of a frozen backbone, by onnxruntime where that serves, else by torch.

    onnxruntime runs small backbones several times as fast on a CPU as torch. It is used if its features of the first
    batch are those of torch, within `TOLERANCE`; `refusal` says why it was not used. It is given a batch per core at a
    time, however many threads torch has: its features do not depend on that, and they are what a head's runs wait for.

    Of several processes that need the same features at once, one computes them and the others wait for it.

    Images go through in batches of one size, the last one filled up with black ones: an image's features depend
    neither on how many there are nor on what is already kept.

    Args:
        backbone: The network; it must not be trained while this is in use.
        backend: Insist on one; None chooses.
    """

    def __init__(self, backbone: Backbone, backend: Backend | None = None) -> None:
        self.backbone, self.backend = backbone, backend
        self.batch_size = BATCH
        self.refusal: str | None = None
        self._session: Any = None
        self._has_chosen = False

    def features(self, images: npt.NDArray[np.uint8], source: str | None = None, view: View | None = None) -> Features:
        """Return the features of images, from the cache where they are kept.

        Args:
            images: Prepared images, uint8 (N, 1 or C, H, W), at least as large as the backbone looks at.
            source: What the images are, such as a prepared data set's fingerprint and the split; None keeps nothing.
            view: How they are changed first.

        Raises:
            ModelError: If the images do not fit the backbone, onnxruntime was insisted on and cannot serve, or the
                backbone has moved since it was built.
            DataError: If the cache is damaged or cannot be written.
        """
        require_as_built(self.backbone)
        if source is None:
            return self.computed(images, view)
        return cached(self.wanting(images.shape, source, view), lambda: self.computed(images, view))

    def wanting(self, shape: tuple[int, ...], source: str, view: View | None = None) -> Wanted:
        """Return by what features of images of a shape (N, C, H, W) are kept; see `features`."""
        backbone = self.backbone
        name = None if view is None else view.name
        return Wanted(backbone.digest, source, shape, name, self.backend)

    def computed(self, images: npt.NDArray[np.uint8], view: View | None = None) -> Features:
        """Compute features, whatever is kept; see `features`."""
        start = time.perf_counter()
        values = self._compute(images, view)
        backend: Backend = "torch" if self._session is None else "onnxruntime"
        return Features(values, backend, cached=False, seconds=round(time.perf_counter() - start, 3))

    def seconds_per_image(self, images: npt.NDArray[np.uint8]) -> float:
        """Return how long an image takes where every core has a batch of its own, as most images of a data set do.

        Making sure that the backbone has not moved is not counted: that is done once, however many images there are.

        Args:
            images: As for `features`; taken over again where there are fewer than one pass needs.

        Raises:
            ModelError: As `features` does.
        """
        some = images[np.arange(self.batch_size * available_cores()) % len(images)]
        self._choose_once(some, None)
        seconds = []
        with frozen(self.backbone.network):
            self._values(some, None)
            for _ in range(TIMED_PASSES):
                start = time.perf_counter()
                self._values(some, None)
                seconds.append(time.perf_counter() - start)
        return median(seconds) / len(some)

    def _compute(self, images: npt.NDArray[np.uint8], view: View | None) -> Array:
        self._choose_once(images, view)
        with frozen(self.backbone.network):
            return self._values(images, view)

    def _values(self, images: npt.NDArray[np.uint8], view: View | None) -> Array:
        values = np.empty((len(images), self.backbone.num_features), dtype=np.float32)

        def fill(start: int) -> None:
            target = values[start : start + self.batch_size]
            target[:] = self._run(self._batch(images, start, view))[: len(target)]

        # Batches side by side, as many as there are cores, take less than batches whose inside is shared out to them.
        # torch shares out by itself.
        at_once = 1 if self._session is None else available_cores()
        with futures.ThreadPoolExecutor(at_once) as pool:
            for _ in pool.map(fill, range(0, len(images), self.batch_size)):
                pass  # It raises here what was raised there.
        return values

    def _batch(self, images: npt.NDArray[np.uint8], start: int, view: View | None) -> Tensor:
        """Return one whole batch, float32 (batch_size, C, *size)."""
        some = torch.from_numpy(np.ascontiguousarray(images[start : start + self.batch_size]))
        if view is not None:
            some = view.change(some, torch.arange(start, start + len(some)))
        seen = self.backbone.preprocessing.apply(some)
        black = seen.new_zeros((self.batch_size - len(seen), *seen.shape[1:]))
        return torch.cat([seen, black]).contiguous(memory_format=torch.channels_last)

    def _run(self, batch: Tensor) -> Array:
        return self._by_torch(batch) if self._session is None else _by_onnxruntime(self._session, batch)

    def _by_torch(self, batch: Tensor) -> Array:
        with torch.no_grad():
            features: Array = self.backbone.network(batch).float().numpy()
        return features

    def _choose_once(self, images: npt.NDArray[np.uint8], view: View | None) -> None:
        """Take onnxruntime if it can be had and agrees with torch on the first batch; later calls keep the choice."""
        if self._has_chosen:
            return
        batch = self._batch(images, 0, view)
        if self.backend != "torch":
            with frozen(self.backbone.network):
                self._session, self.refusal = self._try_onnxruntime(batch)
        if self.backend == "onnxruntime" and self.refusal is not None:
            raise ModelError(
                f"onnxruntime must serve where it is insisted on, but cannot: {self.refusal}. Leave the choice open, "
                "or take torch."
            )
        self._has_chosen = True

    def _try_onnxruntime(self, batch: Tensor) -> tuple[Any, str | None]:
        try:
            failures: tuple[type[Exception], ...] = (RuntimeError, TypeError, ValueError, *onnxruntime_errors())
        except ImportError as error:
            return None, f"it cannot be imported: {error}"
        try:
            session = _session(self.backbone, batch)
            found = _by_onnxruntime(session, batch)
        except failures as error:
            return None, f"{type(error).__name__}: {error}"
        wanted = self._by_torch(batch)
        difference, largest = float(np.abs(found - wanted).max()), float(np.abs(wanted).max())
        if not difference <= TOLERANCE * largest:
            return None, f"its features differ from torch's by {difference:.2g}, where the largest is {largest:.2g}"
        return session, None


def _session(backbone: Backbone, batch: Tensor) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(_graph(backbone, batch), options, providers=["CPUExecutionProvider"])


def onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises."""
    from onnxruntime.capi import onnxruntime_pybind11_state

    kinds = vars(onnxruntime_pybind11_state).values()  # They have no class in common but Exception.
    return tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception))


def _graph(backbone: Backbone, batch: Tensor) -> bytes:
    """Export the network for batches of this one shape: no sizes are left to compute, and paddings are constants."""
    graph: Any = io.BytesIO()  # Which torch writes into, though its types forget it.
    with warnings.catch_warnings():
        # The exporter that traces takes a second where the other takes ten, which is most of what a small data set
        # costs; what it warns of is that it is the older one, and that a trace holds for one shape.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            backbone.network, (batch,), graph, dynamo=False, input_names=["images"], output_names=["features"]
        )
    content: bytes = graph.getvalue()
    return content


def _by_onnxruntime(session: Any, batch: Tensor) -> Array:
    features: Array = session.run(None, {"images": batch.contiguous().numpy()})[0]
    return features
