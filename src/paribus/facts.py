"""What was measured on the data and the networks of an experiment before anything was trained: what checks read.

`paribus.survey` measures; these records hold no arrays and no torch, and go through JSON unchanged.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from paribus.experiment import CONTROL_RETUNED, Experiment


def looked_at(experiment: Experiment) -> str:
    """Return a digest of all that is looked at: each arm's images and network, split and drawn by the first seed."""
    # The retuned control has the control's data and network, and is not there where its rate is the control's.
    recipes = {name: arm.recipe.identity() for name, arm in experiment.arms.items() if name != CONTROL_RETUNED}
    tables = {name: (recipe["data"], recipe["model"]) for name, recipe in recipes.items()}
    return hashlib.sha256(json.dumps([experiment.seeds[0], tables], sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Copies:
    """Images of `split` that `source` holds too; `example` is the index of the first one in each of the two."""

    split: str
    source: str
    images: int
    example: tuple[int, int]


@dataclass(frozen=True)
class SharedGroups:
    """Groups of `split` that `source` has images of too: `groups` of the `of` that there are, `images` of `split`."""

    split: str
    source: str
    groups: int
    of: int
    images: int


@dataclass(frozen=True)
class DataFacts:
    """What one data table gives, split as the experiment's first seed splits it.

    `arms` share the table. `counts` are images per class of train, val and test, in the order of `class_names`.
    `copies` are the same to the last pixel; `near_copies` are test images that are a training image again, but for
    some brightness, contrast or compression. `shared_groups` tells of each pair of splits that share groups, None where
    nothing says who or what belongs together; `groups_are_suggested` says that only the names of the files do.
    """

    arms: tuple[str, ...]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    counts: dict[str, tuple[int, ...]]
    copies: tuple[Copies, ...]
    near_copies: Copies | None
    shared_groups: tuple[SharedGroups, ...] | None = None
    groups_are_suggested: bool = False


@dataclass(frozen=True)
class Behaviour:
    """How a network behaves on real images, with its initial weights.

    `bent` says that the logits are not an affine function of what the last layers with weights give, whatever constant
    is added to all of them; `lowest` and `highest` are then the bounds that no input can push them beyond, None where
    there is none. `sums_to_one` says that they are probabilities. `unbent` names pairs of layers, the second of which
    still sees an affine function of the image. `moving` names parts whose parameters are all frozen and that change in
    training. `mode_gap` is the largest difference between logits in training and in evaluation mode, without dropout
    and with batch normalisation on its running statistics, 0 where the rest is random or depends on the batch.
    """

    bent: bool
    sums_to_one: bool
    lowest: float | None
    highest: float | None
    unbent: tuple[tuple[str, str], ...]
    moving: tuple[str, ...]
    mode_gap: float


@dataclass(frozen=True)
class ModelFacts:
    """One network, as built for the experiment's first seed, and the `arms` that share it and its image form."""

    arms: tuple[str, ...]
    name: str
    num_classes: int
    behaviour: Behaviour


@dataclass(frozen=True)
class BrokenModel:
    """A network that could not be built, or that does not give logits for the images of its `arms`, and `why`."""

    arms: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Facts:
    """Everything measured before training; `unseen` says, in sentences, what could not be looked at and why.

    `of` is `looked_at` of the experiment that was looked at; empty in those of earlier versions.
    """

    data: tuple[DataFacts, ...] = ()
    models: tuple[ModelFacts, ...] = ()
    unseen: tuple[str, ...] = ()
    broken: tuple[BrokenModel, ...] = ()
    of: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the content of `facts.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Facts:
        """Return what `to_json` wrote.

        Raises:
            ValueError: If the content is of another form.
        """
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(content)
