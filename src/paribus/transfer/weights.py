"""Which weights a backbone starts from: a local file with its sidecar, timm's hub, or none.

A sidecar is a JSON file beside a safetensors file. It says for which architecture of timm the weights are, what they
were trained on and how images must be prepared for them, with the SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from paribus.errors import WeightsError, nearest
from paribus.paths import expanded

HUB, NONE = "hub", "none"
_INSTEAD = f'Give the path of one, "{HUB}" for timm\'s own weights, or "{NONE}" to start from scratch.'
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Weights:
    """Weights that are at hand, with all that they fix about the network and its images.

    `source` is ``"file"``, ``"hub"`` or ``"none"``. `num_classes` is that of the head they come with, 0 for none, and
    `labels` names these classes. `num_features` is None where only the network itself tells. `input_size` is
    (C, H, W); `mean` and `std` are per channel, of pixels from 0 to 1. `crop_pct` is the share of an image's side
    that the network saw when its weights were tested; `pretrained_on` says on which images they were trained. `file`
    is a safetensors file whose content has the digest `sha256`; both are None for ``"none"``.
    """

    source: Literal["file", "hub", "none"]
    architecture: str
    model_args: dict[str, Any] = field(hash=False)
    num_classes: int
    num_features: int | None
    input_size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop_pct: float
    licence: str | None
    origin: str | None
    pretrained_on: str | None = None
    labels: tuple[str, ...] | None = None
    file: Path | None = None
    sha256: str | None = None

    @property
    def image_size(self) -> int:
        """The side in pixels to which images are prepared, so that `input_size` is `crop_pct` of it."""
        return math.floor(max(self.input_size[1:]) / self.crop_pct)

    def size_at(self, side: int | None) -> tuple[int, int]:
        """Return the (H, W) in pixels that the network looks at, if a side is given instead of its own."""
        return (side, side) if side is not None else self.input_size[1:]

    @property
    def digest(self) -> str:
        """A hexadecimal digest of all that decides what the network makes of an image; where the file lies does not."""
        left_out = ("source", "licence", "origin", "pretrained_on", "labels", "file", "num_features")
        content = {key: value for key, value in asdict(self).items() if key not in left_out}
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return all but where the file lies and its labels, as JSON values: what a trained network keeps of it."""
        content = {key: value for key, value in asdict(self).items() if key not in ("file", "labels")}
        found: dict[str, Any] = json.loads(json.dumps(content))
        return found

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Weights:
        """Return what `to_json` gave, without a file: for a network whose weights come from elsewhere.

        Raises:
            WeightsError: If the content is not of that form.
        """
        try:
            return TypeAdapter(Weights).validate_python({**content, "source": NONE})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise WeightsError(
                f"A trained network must say from which weights it began, but its `{where}` is not valid: "
                f"{first['msg']}. The file is damaged: take another copy, or train again."
            ) from None


def backbone_digest(weights: Weights, seed: int, *, own_head: bool, size: int | None) -> str:
    """Return a hexadecimal digest of all that decides the outputs of `build_backbone`; arguments as there."""
    drawn = seed if weights.source == NONE else None
    text = f"{weights.digest}|{drawn}|{own_head}|{weights.size_at(size)}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def find_weights(weights: str, architecture: str | None = None, *, instead: str = _INSTEAD) -> Weights:
    """Find weights, verified; those of the hub are downloaded unless they have been before.

    Args:
        weights: The path of a sidecar, the file name of one in a folder that PARIBUS_WEIGHTS names (with or without
            ``.json``), ``"hub"``, or ``"none"`` for a network that starts from scratch.
        architecture: A name of timm's, with a tag where the hub has several weights for it. A sidecar gives its own;
            if both are given they must agree.
        instead: What to do where a sidecar is not there.

    A sidecar is read without timm, which takes seconds to load: whether timm can build its architecture shows when the
    network is built.

    Raises:
        WeightsError: If there are no such weights, they are damaged, or timm, asked for its own, has none.
    """
    if weights not in (HUB, NONE):
        return _of_sidecar(_find_sidecar(weights, instead), architecture)
    if architecture is None:
        raise WeightsError(
            f'Weights "{weights}" must come with the name of an architecture, but got none. Add one, such as '
            "`mobilenetv2_100`."
        )
    return _of_timm(architecture, downloaded=weights == HUB)


def named_weights(name: str) -> Weights:
    """Find weights by one text, as commands take them: a sidecar, or ``"hub:NAME"`` for those of timm's network NAME.

    Raises:
        WeightsError: As `find_weights` does, or if ``"hub"`` or ``"none"`` names no network.
    """
    source, colon, architecture = name.partition(":")
    if source == HUB and colon and architecture:
        return find_weights(HUB, architecture)
    if name.rstrip(":") in (HUB, NONE):
        raise WeightsError(f'Weights must be a sidecar or "{HUB}:NAME", but got "{name}". Name timm\'s network.')
    return find_weights(name, instead=f'Give the path of one, or "{HUB}:NAME" for the weights of timm\'s network NAME.')


class _Sidecar(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    architecture: Annotated[str, Field(min_length=1)]
    file: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    num_classes: Annotated[int, Field(ge=0)]
    input_size: tuple[Literal[1, 3], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    interpolation: str
    crop_pct: Annotated[float, Field(gt=0, le=1)]
    license: str | None
    model_args: dict[str, Any] = {}
    num_features: Annotated[int, Field(ge=1)] | None = None
    labels: str | None = None
    tag: str | None = None
    pretrained_on: str | None = None
    origin: str | None = None


def _folders() -> list[Path]:
    return [Path(folder) for folder in os.environ.get("PARIBUS_WEIGHTS", "").split(os.pathsep) if folder]


def _find_sidecar(name: str, instead: str) -> Path:
    places = [expanded(name), *(folder / name for folder in _folders())]
    named = places if places[0].name else []  # `.` and `/` are folders and name nothing in any.
    found = [path for place in named for path in (place, place.with_name(f"{place.name}.json")) if path.is_file()]
    if not found:
        searched = [place.parent if named else place for place in places]
        raise WeightsError(
            f"`{name}` must be the path of a weights file's JSON sidecar, or the name of one in a folder that "
            f"PARIBUS_WEIGHTS names, but there is none in {', '.join(f'`{each}`' for each in searched)}. "
            f"{instead}"
        )
    if found[0].suffix.lower() != ".json":
        raise WeightsError(
            f"Weights must be named by their JSON sidecar, but got `{found[0]}`. Only the sidecar says how images "
            f"must be prepared for them; the weights lie beside it as a {_SUFFIX} file."
        )
    return found[0]


def _of_sidecar(path: Path, architecture: str | None) -> Weights:
    sidecar = _read(path)
    if architecture is not None and architecture.partition(".")[0] != sidecar.architecture:
        raise WeightsError(
            f"The backbone must be the one that the weights are for, but it is `{architecture}`, and `{path}` is for "
            f'`{sidecar.architecture}`. Name that one, or set `model.backbone` to "off": the weights say theirs.'
        )
    file = _beside(path, sidecar.file, "file")
    _require_sha256(file, sidecar.sha256)
    return Weights(
        source="file",
        architecture=sidecar.architecture,
        model_args=sidecar.model_args,
        num_classes=sidecar.num_classes,
        num_features=sidecar.num_features,
        input_size=sidecar.input_size,
        mean=sidecar.mean,
        std=sidecar.std,
        interpolation=sidecar.interpolation,
        crop_pct=sidecar.crop_pct,
        licence=sidecar.license,
        origin=sidecar.origin,
        pretrained_on=sidecar.pretrained_on,
        labels=None if sidecar.labels is None else _labels(_beside(path, sidecar.labels, "labels"), sidecar),
        file=file,
        sha256=sidecar.sha256,
    )


def _read(path: Path) -> _Sidecar:
    try:
        sidecar = _Sidecar.model_validate_json(path.read_bytes())
    except ValidationError as error:
        # A misspelt key explains the missing one better than the other way round.
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        raise WeightsError(_explain(path, first)) from None
    channels = sidecar.input_size[0]
    if not len(sidecar.mean) == len(sidecar.std) == channels:
        raise WeightsError(
            f"`mean` and `std` in `{path}` must have one number per channel, {channels}, but have {len(sidecar.mean)} "
            f"and {len(sidecar.std)}. Correct them or `input_size`."
        )
    if Path(sidecar.file).suffix != _SUFFIX:
        raise WeightsError(
            f"Weights must be a {_SUFFIX} file, but `{path}` names `{sidecar.file}`. Loading any other form may run "
            "code that is hidden in it. Convert it with `safetensors.torch.save_file`."
        )
    return sidecar


def _explain(path: Path, error: Any) -> str:
    key, known = ".".join(map(str, error["loc"])), _Sidecar.model_fields
    match error["type"]:
        case "json_invalid":
            return f"`{path}` must hold JSON, but does not: {error['ctx']['error']}. Correct it."
        case "extra_forbidden":
            return f"`{path}` has the unknown key `{key}`.{nearest(key, known)} Known keys: {', '.join(known)}."
        case "missing":
            return f"`{path}` must hold the key `{key}`, but does not. Add it."
    return f"`{key}` in `{path}` is not valid: {error['msg']}, but got {error['input']!r}. Correct it."


def _beside(sidecar: Path, name: str, key: str) -> Path:
    path = sidecar.parent / name
    if not name or Path(name).name != name or not path.is_file():
        raise WeightsError(
            f"`{key}` of `{sidecar}` must name a file beside it, but there is no `{name}` in `{sidecar.parent}`. Put "
            "it there."
        )
    return path


def _labels(path: Path, sidecar: _Sidecar) -> tuple[str, ...]:
    try:
        labels = tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(
            f"`{path}` must be readable text in UTF-8, one line per class, but is not: {reason}. Save it so, or check "
            "its permissions."
        ) from None
    if len(labels) != sidecar.num_classes:
        raise WeightsError(
            f"`{path}` must hold one line per class, {sidecar.num_classes}, but holds {len(labels)}. Correct it or "
            "`num_classes`."
        )
    return labels


def _require_sha256(file: Path, stated: str) -> None:
    status = file.stat()
    found = _sha256(file, status.st_size, status.st_mtime_ns)
    if found != stated:
        raise WeightsError(
            f"`{file}` must have the SHA-256 that its sidecar states, {stated}, but has {found}. It is damaged or "
            "another file: fetch it again."
        )


@lru_cache
def _sha256(file: Path, size: int, changed_ns: int) -> str:
    """Digest a file; once, as long as its size and time of change stay what they are."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def require_architecture(name: str) -> None:
    """Raise WeightsError unless timm can build such a network."""
    import timm

    bare = name.partition(".")[0]
    if not timm.is_model(bare):
        raise WeightsError(
            f"A backbone must be an architecture of timm, but got `{name}`.{nearest(bare, timm.list_models())} "
            "`timm.list_models()` lists them."
        )


def _of_timm(name: str, *, downloaded: bool) -> Weights:
    import timm
    from timm.models import PretrainedCfg, get_pretrained_cfg

    require_architecture(name)
    architecture, _, tag = name.partition(".")
    known = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in known:
        raise WeightsError(
            f"timm must know the weights by name, but has no `{name}`.{nearest(name, known)} It has: "
            f"{', '.join(known) or 'none'}."
        )
    config = get_pretrained_cfg(name) or PretrainedCfg()  # An architecture without any weights: timm's defaults.
    file = _download(name, config) if downloaded else None
    return Weights(
        source="hub" if downloaded else "none",
        architecture=name if downloaded else architecture,
        model_args={},
        num_classes=config.num_classes if downloaded else 0,
        num_features=None,
        input_size=config.input_size,
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation=config.interpolation,
        crop_pct=config.crop_pct,
        licence=config.license if downloaded else None,
        origin=config.hf_hub_id if downloaded else None,
        labels=_imagenet_labels() if downloaded and config.num_classes == 1000 else None,
        file=file,
        sha256=None if file is None else _sha256(file, file.stat().st_size, file.stat().st_mtime_ns),
    )


def _download(name: str, config: Any) -> Path:
    """Return the hub's safetensors file, from the hub's own cache where it is there already."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    file = config.hf_hub_filename or f"model{_SUFFIX}"
    if not config.hf_hub_id or not file.endswith(_SUFFIX):
        raise WeightsError(
            f"The hub must hold `{name}` as a {_SUFFIX} file, but timm names none. Choose another backbone, or give "
            "the path of a sidecar."
        )
    offline = os.environ.get("PARIBUS_OFFLINE", "") not in ("", "0")
    try:
        return Path(hf_hub_download(config.hf_hub_id, file, local_files_only=offline))
    except (OSError, EntryNotFoundError) as error:
        failed = f"its download failed: {str(error).rstrip('.')}"
        reason = "PARIBUS_OFFLINE forbids downloading it" if offline else failed
        here = ", ".join(sorted(path.stem for folder in _folders() for path in folder.glob("*.json")))
        raise WeightsError(
            f"`{file}` of `{config.hf_hub_id}` must be on this machine or be downloaded, but is not here, and "
            f'{reason}. Give the path of a weights file\'s JSON sidecar instead of "{HUB}" (docs/photos.md shows one; '
            f"PARIBUS_WEIGHTS has {here or 'none'}), or go where the hub can be reached and run again."
        ) from error


def _imagenet_labels() -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo

    names = ImageNetInfo("imagenet-1k")
    return tuple(names.index_to_description(index) for index in range(1000))
