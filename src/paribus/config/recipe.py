"""Recipes: everything that decides how one network is trained, frozen and validated.

A recipe is six tables (`data`, `model`, `optim`, `schedule`, `augment`, `train`). A factor is one key of one table,
written `table.key`. Optional keys default to None, which means off; a TOML file writes ``"off"``. An arm may leave the
value of a factor of `FINDABLE` to be found before its runs.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from paribus.config.model import ModelConfig
from paribus.config.table import Fraction, NonNegativeFloat, Off, PositiveFloat, Table
from paribus.errors import ConfigError, nearest
from paribus.refusals import validated

Value = str | int | float | bool | list[Any] | None
"""What a factor can be set to."""
RATE, EPOCHS = "optim.lr", "train.epochs"
NUMBERING = "numbering"
"""The word for groups by the numbers in file names."""


Fit = Literal["squash", "crop"]
Val = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | Literal["test"] | None


class DataConfig(Table):
    """Which images, at which size, and which of them validate and test.

    `name` is a known data set (`paribus list data`) or a path to a folder, zip, csv or npz file. `val` is a number of
    images (int), a fraction of the training set (float), ``"test"`` (validate on the test set, which marks the
    result), or left out: the source's own validation split where it has one, else a tenth of the training set. A drawn
    split is stratified and fixed by the seed. `size` resizes to size x size pixels; `pad` then adds a border of
    zeros, in pixels, on every side. `train_size` keeps that many training images, stratified, drawn by the seed.

    For image files: `fit` says how an image that is no square becomes one: "squash" changes its proportions, "crop"
    keeps its middle. `test` draws a test split, that fraction of all images of the source, from the files' contents:
    the same for every seed. `group` keeps images together when splits are drawn: a regular expression whose first
    group (or whole match) in an image's path names who or what it shows, or "numbering": the numbers in file names
    order the images, and a new group begins where the classes begin anew. `skip_unreadable` leaves out what cannot be
    decoded, instead of stopping.
    """

    name: str = Field(min_length=1)
    val: Annotated[Val, Off] = None
    size: Annotated[Annotated[int, Field(ge=1, le=1024)] | None, Off] = None
    pad: int = Field(default=0, ge=0, le=64)
    train_size: Annotated[Annotated[int, Field(ge=1)] | None, Off] = None
    fit: Fit = "squash"
    test: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, Off] = None
    group: Annotated[Annotated[str, Field(min_length=1)] | None, Off] = None
    skip_unreadable: bool = False

    @property
    def images_key(self) -> str:
        """What decides the prepared images; how many of them train or validate does not."""
        read = self.model_dump(exclude={"val", "train_size"})
        return "|".join(f"{key}={value}" for key, value in read.items())

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.fit == "crop" and self.size is None:
            raise ConfigError('`data.fit = "crop"` needs `data.size`, the side of the squares. Set it, such as to 256.')
        if self.group is not None and self.group != NUMBERING:
            try:
                re.compile(self.group)
            except re.error as error:
                raise ConfigError(
                    f'`data.group` must be a regular expression or "{NUMBERING}", but got `{self.group}`: {error}.'
                ) from None
        return self


class OptimConfig(Table):
    """The optimiser, by torch's names and defaults. `betas` serve adam and adamw; left out they are torch's default.

    lbfgs is for heads that are solved for: to convergence, from a first step of length 1, with nothing to set,
    `lr` neither.
    """

    name: Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "lbfgs"] = "sgd"
    lr: PositiveFloat
    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0
    betas: Annotated[list[Fraction] | None, Off] = None

    @model_validator(mode="before")
    @classmethod
    def _complete_lbfgs(cls, value: object) -> object:
        return {"lr": 1.0, **value} if isinstance(value, Mapping) and value.get("name") == "lbfgs" else value

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.name == "lbfgs" and (self.lr != 1 or self.weight_decay):
            raise ConfigError(
                f"lbfgs must be left with lr = 1 and without weight decay, but got lr = {self.lr:g}, weight_decay = "
                f"{self.weight_decay:g}. `model.strength` regularises a head."
            )
        if self.momentum and self.name not in ("sgd", "rmsprop"):
            raise ConfigError(
                f"`optim.momentum` belongs to sgd and rmsprop, but got {self.momentum:g} with {self.name}. "
                "Set it to 0, or change `optim.name`."
            )
        if self.nesterov and not (self.name == "sgd" and self.momentum):
            raise ConfigError(
                f"`optim.nesterov` needs sgd with a momentum above 0, but got {self.name} with momentum "
                f"{self.momentum:g}. Set `optim.momentum`, for example to 0.9."
            )
        if self.betas is not None and (self.name not in ("adam", "adamw") or len(self.betas) != 2):
            raise ConfigError(
                f"`optim.betas` must be two numbers for adam or adamw, but got {self.betas} with {self.name}. "
                'Set it to "off", or give for example [0.9, 0.999].'
            )
        return self


class ScheduleConfig(Table):
    """The learning rate over the run, as a multiple of `optim.lr`.

    `step` multiplies by `gamma` every `step_epochs`; `cosine` falls to 0 at the end; `one-cycle` rises along a
    cosine from lr / 25 to lr over the first 30 % of the run and falls along another to lr / 250,000 (Smith, Topin
    2018; torch's `OneCycleLR` with its defaults).
    `warmup_epochs` rises linearly from 0 before the others begin.
    """

    name: Literal["constant", "step", "cosine", "one-cycle"] = "constant"
    warmup_epochs: NonNegativeFloat = 0.0
    step_epochs: Annotated[Annotated[float, Field(ge=0.001, allow_inf_nan=False)] | None, Off] = None
    gamma: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, Off] = None

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        has_step_keys = self.step_epochs is not None and self.gamma is not None
        if (self.name == "step") != has_step_keys or (self.step_epochs is None) != (self.gamma is None):
            raise ConfigError(
                "`schedule.step_epochs` and `schedule.gamma` go with the schedule `step`, both of them, but got "
                f"name = {self.name}, step_epochs = {self.step_epochs}, gamma = {self.gamma}. "
                'For example: { name = "step", step_epochs = 10, gamma = 0.1 }.'
            )
        if self.name == "one-cycle" and self.warmup_epochs:
            raise ConfigError(
                f"`schedule.warmup_epochs` must be 0 with one-cycle, which warms up by itself, but got "
                f"{self.warmup_epochs:g}. Leave it out."
            )
        return self


class AugmentConfig(Table):
    """Random changes to each training image, drawn anew for every epoch from (seed, epoch, image).

    `shift` is the largest translation in pixels; `rotate` the largest angle in degrees; `scale` the largest relative
    change of size; `elastic` the standard deviation in pixels of a smooth displacement (Simard, Steinkraus, Platt
    2003). Flips happen with probability 0.5 where asked for; they change the meaning of most characters.

    `crop_scale` cuts out a part of the image and resizes it to what the network looks at: the least and the largest
    share of the area, such as [0.08, 1]; `crop_ratio` is the range of its width over its height. `brightness`,
    `contrast` and `saturation` multiply by up to 1 plus and minus these; `hue` turns by up to this share of the colour
    circle. All as in torchvision's `RandomResizedCrop` and `ColorJitter`.

    `mixup` mixes each batch with itself in another order, images and classes alike, in shares that are drawn for every
    step from Beta(mixup, mixup) (Zhang et al. 2018, arXiv 1710.09412): 0.2 is usual.
    """

    shift: NonNegativeFloat = 0.0
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Fraction = 0.0
    elastic: NonNegativeFloat = 0.0
    hflip: bool = False
    vflip: bool = False
    crop_scale: Annotated[list[float] | None, Off] = None
    crop_ratio: list[float] = Field(default=[3 / 4, 4 / 3])
    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    mixup: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        scale, ratio = self.crop_scale, self.crop_ratio
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
            raise ConfigError(
                "`augment.crop_scale` must be the least and the largest share of the area, above 0 and up to 1, but "
                f"got {scale}. The usual range is [0.08, 1]."
            )
        if not (len(ratio) == 2 and 0 < ratio[0] <= ratio[1] < math.inf):
            raise ConfigError(
                "`augment.crop_ratio` must be the least and the largest width over height, above 0, but got "
                f"{ratio}. The usual range is [0.75, 1.3333]."
            )
        if scale is None and ratio != type(self).model_fields["crop_ratio"].default:
            raise ConfigError(
                f"`augment.crop_ratio` shapes what `augment.crop_scale` cuts out, but got {ratio} without it. Set "
                "`augment.crop_scale`, for example to [0.08, 1]."
            )
        return self


class TrainConfig(Table):
    """How long and in which batches.

    `keep` names the epoch whose weights are tested; `patience` stops the run after that many epochs without a better
    validation loss. Without `shuffle` every epoch takes the training images in the order of their source. `engine` is
    what trains; "auto" leaves that to the command line, and there to the fastest that can.

    `average` evaluates, keeps and tests a mean of the weights after each step instead of the last ones, running
    statistics included: those of k steps ago weigh `average` to the power of k, such as 0.99. `precision` is that of
    the products in training steps; weights, losses and whatever is evaluated stay in float32.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=128, ge=1)
    shuffle: bool = True
    label_smoothing: Fraction = 0.0
    keep: Literal["last", "best"] = "last"
    patience: Annotated[Annotated[int, Field(ge=1)] | None, Off] = None
    engine: Literal["auto", "native", "torch", "features"] = "auto"
    average: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, Off] = None
    precision: Literal["float32", "bfloat16", "float16"] = "float32"


class Recipe(Table):
    """A complete training recipe: what the control is, and what each arm is.

    Raises:
        ConfigError: Through `parse` and `with_factors`, where a key is unknown, missing or out of range.
    """

    data: DataConfig
    model: ModelConfig
    optim: OptimConfig
    schedule: ScheduleConfig = ScheduleConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig
    _unfound: tuple[str, ...] = PrivateAttr(default=())

    @property
    def unfound(self) -> tuple[str, ...]:
        """The factors whose values are still to be found; until then they stand at the control's.

        Such a recipe may be looked at, but `RunSpec` refuses it, so that it is never trained.
        """
        return self._unfound

    @model_validator(mode="after")
    def _test_never_chooses(self) -> Self:
        if self.data.val == "test" and (self.train.keep == "best" or self.train.patience is not None):
            raise ConfigError(
                '`data.val = "test"` must not choose anything, but got '
                f"keep = {self.train.keep}, patience = {self.train.patience}: weights chosen on the test set make its "
                "accuracy too good. Give `data.val` a number of training images, for example 5000."
            )
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.schedule.warmup_epochs >= self.train.epochs:
            raise ConfigError(
                f"`schedule.warmup_epochs` must be below `train.epochs`, but got {self.schedule.warmup_epochs:g} of "
                f"{self.train.epochs} epochs. Shorten the warm-up, or train longer."
            )
        return self

    @property
    def is_solved(self) -> bool:
        """Whether a head is solved for: there are no epochs, and no learning rate."""
        return self.optim.name == "lbfgs"

    @property
    def has_own_views(self) -> bool:
        """Whether a head is solved for on changed images, which every seed changes in its own way."""
        return self.is_solved and self.augment != AugmentConfig()

    @model_validator(mode="after")
    def _heads_are_solved(self) -> Self:
        solved, options = self.is_solved, self.model.options
        if solved and not self.model.trains_head:
            raise ConfigError(
                f'`optim.name` must be lbfgs only where `model.train` is "head", but got it for {self.model.name}'
                f"{' with train = ' + options['train'] if 'train' in options else ''}. Give the arm an optimiser of "
                "its own, and declare the two factors `together`."
            )
        if not solved and self.model.trains_head and (options["head"], options["strength"]) != ("logistic", None):
            raise ConfigError(
                f"A head that {self.optim.name} trains must be logistic and have no `model.strength`, but got head = "
                f"{options['head']}, strength = {options['strength']}. Use `optim.weight_decay`, "
                'or optim.name = "lbfgs".'
            )
        plain: dict[str, Value] = {
            "train.patience": None,
            "train.keep": "last",
            "train.label_smoothing": 0.0,
            "train.average": None,
            "train.precision": "float32",
            "schedule.name": "constant",
            "augment.mixup": 0.0,
        }
        other = [name for name, value in plain.items() if self.factor(name) != value]
        if solved and other:
            raise ConfigError(
                "A head that is solved for must have no schedule, patience, epoch to keep or what else is for steps, "
                f"but `{other[0]}` is {self.factor(other[0])}. Take it out, or train the head by another optimiser."
            )
        changes = self.augment != AugmentConfig()
        if solved and changes and options["head"] != "logistic":
            raise ConfigError(
                f"Only a logistic head is fitted to changed images, but `model.head` is {options['head']} with "
                "augmentation. Take `augment` out."
            )
        if solved and not changes and self.train.epochs != 1:
            raise ConfigError(
                "A head that is solved for must have `train.epochs` of 1, or with augmentation as many as the views of "
                f"each image that it is fitted to, but got {self.train.epochs} without. Set it to 1, or `augment`."
            )
        return self

    def identity(self) -> dict[str, dict[str, Any]]:
        """Return the tables that tell recipes apart, as JSON values.

        Keys that came later are left out where they have their defaults: older runs were trained by these.
        """
        tables: dict[str, dict[str, Any]] = self.model_dump(mode="json")
        return {
            table: {key: value for key, value in keys.items() if (f"{table}.{key}", value) not in LATER_KEYS.items()}
            for table, keys in tables.items()
        }

    def digest(self) -> str:
        """Return a digest of `identity`, in 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:16]

    def factor(self, name: str) -> Value:
        """Return the value of a factor such as ``"optim.lr"``.

        Raises:
            ConfigError: If there is no such key.
        """
        tables = self.model_dump()
        table, _, key = name.partition(".")
        if table not in tables or not key:
            meant = [
                f"{home}.{own}" for home in tables for own in tables[home] if name in (own, f"control.{home}.{own}")
            ]
            offer = "" if table in tables else f" Did you mean `{meant[0]}`?" if meant else nearest(table, tables)
            raise ConfigError(
                f"A factor must be written `table.key` with a table of {', '.join(tables)}, but got `{name}`.{offer}"
            )
        if key not in tables[table]:
            if table == "model" and ":" in self.model.name:
                return None
            raise ConfigError(
                f"Unknown key `{name}`.{nearest(key, tables[table])} Keys of `{table}`: {', '.join(tables[table])}."
            )
        value: Value = tables[table][key]
        return value

    def with_factors(self, factors: Mapping[str, Value], where: str = "arm") -> Recipe:
        """Return the recipe with some factors changed, validated anew.

        Another `model.name` starts from that model's defaults, keeping the options that both models have. A factor
        set to its word of `FINDABLE` keeps its value and is `unfound` until it is set to a number.
        """
        open_ = tuple(name for name, value in factors.items() if name in FINDABLE and value == FINDABLE[name])
        fixed = {name: value for name, value in factors.items() if name not in open_}
        recipe = self._with_values(fixed, where)
        recipe._unfound = (*(name for name in self._unfound if name not in factors), *open_)
        return recipe

    def _with_values(self, factors: Mapping[str, Value], where: str) -> Recipe:
        tables = self.model_dump()
        if "model.name" in factors and factors["model.name"] != self.model.name:
            tables["model"] = self._options_of_other(str(factors["model.name"]))
        for name, value in factors.items():
            if "model.name" not in factors or not name.startswith("model."):
                self.factor(name)
            table, _, key = name.partition(".")
            tables[table][key] = value
        return validated(Recipe, tables, where)

    def _options_of_other(self, name: str) -> dict[str, Any]:
        options = ModelConfig.options_by_name.get(name)
        if options is None:
            return {"name": name}
        kept = {key: value for key, value in self.model.options.items() if key in options.model_fields}
        return {"name": name, **kept}


FINDABLE: dict[str, str] = {RATE: "retune", EPOCHS: "equal-seconds"}
"""Factors whose values an arm may leave to be found, and the word that says so."""
LATER_KEYS: dict[str, Value] = {
    "train.shuffle": True,
    "train.engine": "auto",
    "data.fit": "squash",
    "data.test": None,
    "data.group": None,
    "data.skip_unreadable": False,
    "augment.crop_scale": None,
    "augment.crop_ratio": [3 / 4, 4 / 3],
    "augment.brightness": 0.0,
    "augment.contrast": 0.0,
    "augment.saturation": 0.0,
    "augment.hue": 0.0,
    "augment.mixup": 0.0,
    "train.average": None,
    "train.precision": "float32",
}
"""Keys added since recipes were first stored, with the value that says nothing new."""
