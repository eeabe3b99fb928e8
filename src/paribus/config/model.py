"""Which network a recipe trains: the built-in models with their options, and users' own classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paribus.config.table import Fraction, Off, PositiveFloat, Table, none_if_off
from paribus.errors import ConfigError, one_of
from paribus.refusals import validated

Activation = Literal["tanh", "scaled-tanh", "relu", "gelu", "sigmoid"]
Pooling = Literal["avg", "max", "stride", "trainable"]


class Lenet5Options(Table):
    """Options of `lenet5`: the layers of LeCun et al. 1998 as they are taught today."""

    activation: Activation = "tanh"
    pooling: Pooling = "avg"
    dropout: Fraction = 0.0


class Lenet5Of1998Options(Table):
    """Options of `lenet5-1998`: the paper's C3 connection table and trainable subsampling."""

    activation: Activation = "scaled-tanh"
    pooling: Pooling = "trainable"


class CharCnnOptions(Table):
    """Options of `charcnn`: a batch-normalised CNN for handwritten characters; `width` scales its channels."""

    width: int = Field(default=32, ge=1, le=512)
    dropout: Fraction = 0.2


class PretrainedOptions(Table):
    """Options of `pretrained`: a network of timm's that has learnt on other images.

    `weights` is the path of a sidecar or its name below `PARIBUS_WEIGHTS`, "hub" for timm's own, or "none";
    `backbone` is timm's name of the network, which a sidecar may tell. `train` is what learns: "head" (feature
    extraction: the backbone is frozen; with the optimiser lbfgs the head is solved for, with any other it is trained),
    "stages-2" (the last two stages too) or "all".

    A head that is solved for is "logistic" with L2 regularisation of `strength`, which cross-validation chooses where
    it is left out; instead of it "nearest" gives the class of the most similar training image, "majority" that of most
    training images, "imagenet" what the weights' own head makes of the image. `start` is where fine-tuning finds its
    head: drawn at random, or solved for (LP-FT: linear probing, then fine-tuning; Kumar et al. 2022). `stage_decay`
    multiplies the learning rate from each stage to the one before it. `batch_norm` says what happens to running
    statistics in fine-tuning. `input` is the side in pixels of what the network sees, the middle of the prepared
    image; left out it is that of the weights.
    """

    weights: str = Field(min_length=1)
    backbone: Annotated[Annotated[str, Field(min_length=1)] | None, Off] = None
    train: Annotated[str, Field(pattern=r"^(head|all|stages-[1-9]\d?)$")] = "head"
    head: Literal["logistic", "nearest", "majority", "imagenet"] = "logistic"
    strength: Annotated[PositiveFloat | None, Off] = None
    start: Literal["random", "head"] = "random"
    stage_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    batch_norm: Literal["frozen", "update"] = "frozen"
    input: Annotated[Annotated[int, Field(ge=16, le=1024)] | None, Off] = None

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.weights == "none" and (self.train != "all" or self.start == "head"):
            raise ConfigError(
                '`model.weights = "none"` must be trained from scratch, train = "all" with start = "random", but got '
                f"train = {self.train}, start = {self.start}: nothing in it has learnt anything yet."
            )
        if self.weights in ("hub", "none") and self.backbone is None:
            raise ConfigError(
                f'With `model.weights = "{self.weights}"` timm\'s name is needed as `model.backbone`. Add it.'
            )
        if self.train != "head" and self.head != "logistic":
            raise ConfigError(
                f"`model.head` must be logistic where a backbone is trained, but got {self.head} with train = "
                f'{self.train}. Set `model.train` to "head".'
            )
        if self.train == "head" and self.start == "head":
            raise ConfigError('`model.start = "head"` is where fine-tuning begins: take it out, or set train = "all".')
        return self


class ModelConfig(BaseModel):
    """Which network, with its own options as further keys of the table.

    `name` is a built-in model (`paribus list models`) or ``"path/to/file.py:Class"`` or ``"package.module:Class"``;
    the options of a user's class are the keyword arguments of its constructor, where ``"off"`` is None as everywhere.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    options_by_name: ClassVar[dict[str, type[Table]]] = {
        "lenet5": Lenet5Options,
        "lenet5-1998": Lenet5Of1998Options,
        "charcnn": CharCnnOptions,
        "pretrained": PretrainedOptions,
    }

    name: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _complete_options(cls, value: object) -> object:
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            return value
        name = value["name"]
        if ":" in name:
            return {key: none_if_off(item) for key, item in value.items()}
        if name not in cls.options_by_name:
            own = "a class of yours as `file.py:Class`"
            raise ConfigError(one_of("`model.name`", cls.options_by_name, name, own))
        given = {key: item for key, item in value.items() if key != "name"}
        options = validated(cls.options_by_name[name], given, "model")
        return {"name": name, **options.model_dump()}

    @property
    def trains_head(self) -> bool:
        """Whether all but the head is frozen: feature extraction."""
        return self.name == "pretrained" and self.options["train"] == "head"

    @property
    def options(self) -> dict[str, Any]:
        """The keys besides `name`, complete with defaults for a built-in model."""
        return dict(self.model_extra or {})
