"""What the store holds of a run: its epochs, result, predictions, probes and checkpoint; and the test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class EpochRecord:
    """One line of `epochs.jsonl`: what one epoch did.

    Losses are mean cross-entropies in nats: on val plain, on train as they are trained on, with label smoothing and of
    mixed images, which count as right where they are taken for what has the larger share in them. Train figures are
    means over the whole epoch while the weights move; val figures are of their average where the recipe has one.
    `steps` counts from the start of the run. `lr` is the rate of the epoch's last step, `gradient_norm` the mean over
    steps of the L2 norm of all gradients, `layer_gradient_norms` that of each layer's gradients at the last step, by
    the name of the module that owns them, ``"(model)"`` for the network itself. None where a figure is not finite,
    there is no val, or the engine does not tell.
    """

    epoch: int
    steps: int
    lr: float
    train_loss: float | None
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    gradient_norm: float | None
    layer_gradient_norms: Mapping[str, float] | None = None


@dataclass(frozen=True)
class RunResult:
    """`result.json`: how one run ended.

    `epochs` were trained, `epoch_kept` is the one whose weights were tested. A diverged run met a loss that is not
    finite; it is tested with its kept weights like any other, and logits that are not finite count as a wrong answer
    with `test_loss` None. `seconds` is training time without start-up, over all interruptions; `features_seconds` is
    what the features of a frozen backbone took, once for all runs that read them, whichever has computed them; a
    head on changed images has features of its seed's own.
    """

    arm: str
    seed: int
    digest: str
    status: Literal["finished", "diverged"]
    engine: str
    epochs: int
    epoch_kept: int
    steps: int
    parameters: int
    train_examples: int
    val_examples: int
    val_is_test: bool
    test_examples: int
    test_loss: float | None
    test_accuracy: float
    seconds: float
    features_seconds: float = 0.0


@dataclass(frozen=True)
class TuningResult:
    """`result.json` of a run that only helps to choose a rate on val: as `RunResult`, without a look at test."""

    arm: str
    lr: float
    seed: int
    digest: str
    status: Literal["finished", "diverged"]
    engine: str
    epochs: int
    epoch_kept: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class WallTime:
    """How long the calls that trained have worked, in seconds, and how many `runs` they have ended.

    `all_ended` says that each of them came to its end, by Ctrl-C too, and was not killed.
    """

    seconds: float
    runs: int
    all_ended: bool


@dataclass(frozen=True)
class Predictions:
    """`predictions.npz`: `logits` float32 (N, num_classes) and `labels` int64 (N,), in the test set's order."""

    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """Predicted class (N,), -1 where a logit is not finite."""
        return np.where(np.isfinite(self.logits).all(axis=1), self.logits.argmax(axis=1), -1).astype(np.int64)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each example was classified right (N,)."""
        return np.asarray(self.classes == self.labels)


@dataclass(frozen=True)
class LayerProbe:
    """What one activation function gave on the probe images.

    `layer` is the name of the module that calls it, and `function` its name (relu, tanh, ...). Where a module calls it
    between its submodules, as `torch.relu(self.conv1(x))` does, `layer` is ``"after NAME"``, the submodule that ran
    last; from the second call in one forward pass on it ends in ``", call 2"``. A unit is a channel of a convolution or
    an output of a linear layer, and `units` counts them.

    `dead` units never left, on any image and place, the part below which the function is flat: for relu an input up to
    0, for gelu, silu, mish and elu inputs at which slope and height over the floor are under 0.001. `saturated` is the
    share of values that lie within 5 % of the range's width of one of its ends. A function that has a range with two
    ends (tanh, sigmoid, hardtanh) has `saturated`, the others have `dead`, never both.
    """

    layer: str
    function: str
    units: int
    dead: int | None
    saturated: float | None


@dataclass(frozen=True)
class Probes:
    """`probes.json`: what was measured about the mechanism of a finished run, with its kept weights.

    Taken on `images` validation images, spread evenly over val where it has more: accuracy as they are; after a shift
    of 1 and of 2 pixels, a quarter of the images in each of four directions; after a rotation of 10 degrees, half of
    them either way; with black where there was nothing. Mean confidence (highest probability) and expected calibration
    error (15 bins of equal width, Guo et al. 2017), fractions. `layers` are in the order in which they run.
    `gradient_norms_at_start` are L2 norms of the gradients by layer, as in `EpochRecord`, for the initial weights and
    the first batch; None where one is not finite.
    """

    images: int
    accuracy: float
    confidence: float
    calibration_error: float
    accuracy_shifted_1: float
    accuracy_shifted_2: float
    accuracy_rotated_10: float
    layers: tuple[LayerProbe, ...]
    gradient_norms_at_start: Mapping[str, float] | None


@dataclass(frozen=True)
class Usage:
    """What it takes to use a trained network, beside its recipe and weights; see `ModelHeader`.

    `image_shape` is (C, H, W) of prepared images; `mean` and `std` normalise their channels, in units of 0 to 255; a
    pretrained network that sees grey images has those of its own channels. `temperature` divides logits before
    probabilities are taken of them, None where it stays at 1; `temperature_reason` says why. `backbone` is what
    `paribus.transfer.Weights` says of itself, None for networks that are not pretrained.
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    temperature: float | None
    temperature_reason: str
    backbone: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Where an interrupted run goes on: `epoch` epochs are done, `arrays` is the engine's state after them."""

    epoch: int
    arrays: Arrays


@dataclass(frozen=True)
class TestSet:
    """The test images of a result: uint8 (N, C, H, W), labels int64 (N,) and the names of the classes."""

    __test__ = False  # Not a test class for pytest.

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    source: str
