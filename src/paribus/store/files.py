"""Reading and writing single files: atomic, and every refusal of the system in words that help."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as safetensors_load

from paribus.errors import StoreError

T = TypeVar("T")


def typed(kind: type[T], content: Mapping[str, Any], path: Path) -> T:
    """Build a record from a file's keys; a file of another version, or with values of other types, is refused."""
    try:
        kind(**content)
    except TypeError as error:
        raise StoreError(
            f"`{path}` must hold the keys of this version of paribus, but does not: {error}. Delete this file and run "
            "the experiment again."
        ) from None
    with reading(path):
        try:
            return _checked(kind).validate_python(content)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"`{'.'.join(map(str, first['loc']))}` is {first['input']!r}") from None


def _checked(kind: type[T]) -> TypeAdapter[T]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def read_json(path: Path, advice: str | None = None) -> dict[str, Any]:
    """Read a JSON object; `advice` is what `reading` takes."""
    with reading(path, advice):
        return _json_object(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line without its newline was cut off by a crash and does not count."""
    with reading(path):
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        return [_json_object(line) for line in lines]


def _json_object(text: str) -> dict[str, Any]:
    content = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(content, dict):
        raise ValueError(f"it must hold an object, but holds {type(content).__name__}")
    return content


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which are no JSON and which nothing of ours writes."""
    raise ValueError(f"it holds {name}, which is no number")


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of a safetensors file by name."""
    with reading(path):
        return dict(safetensors_load(path.read_bytes()))


def line(content: Mapping[str, Any]) -> str:
    """Write an object as one JSON line."""
    return json.dumps(content, allow_nan=False) + "\n"


def append(path: Path, content: Mapping[str, Any]) -> None:
    """Append an object to a file of JSON lines."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(line(content))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, atomically."""
    write(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def write(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves either the old content or the new."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def set_aside(folder: Path, path: Path) -> None:
    """Move a file of a result folder to `superseded/`, under the name of its content, if it is there."""
    if not path.exists():
        return
    with writing(path):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        place = path.parent.relative_to(folder) / f"{path.stem}-{digest}{path.suffix}"
        target = folder / "superseded" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)


def unused(path: Path) -> Path:
    """Return a path at which nothing lies: this one, or with the next number behind it."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not each.exists())


def make_folder(path: Path) -> None:
    """Make a folder and those above it."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusals into what the user can do about them."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "The disk is full. Free some space and run the same command again: finished epochs are kept."
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "The folder may not be written to. Choose another with --out, or change its permissions."
        else:
            advice = f"The system says: {error.strerror or error}. Choose another folder with --out."
        raise StoreError(f"`{path}` could not be written. {advice}") from error


@contextmanager
def reading(path: Path, advice: str | None = None) -> Iterator[Path]:
    """Turn a missing or damaged file into an error that says what to do.

    Args:
        path: The file.
        advice: How a file that is damaged can be made anew, None where only training makes it.
    """
    try:
        yield path
    except FileNotFoundError:
        raise StoreError(f"`{path}` must exist, but it does not. Run `paribus run` again to make it.") from None
    except OSError as error:
        raise StoreError(
            f"`{path}` cannot be read, though it is there: {error.strerror or error}. Check its permissions and the "
            "disk."
        ) from error
    except _DAMAGE as error:
        again = advice or "Delete this file and run the experiment again."
        raise StoreError(f"`{path}` is damaged and cannot be read: {error}. {again}") from error


@contextmanager
def reading_npz(path: Path) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """Open an npz file without pickle; an array is read when it is asked for."""
    # Opened here, because numpy leaves a file open that turns out not to be an archive.
    with reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        yield arrays


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
"""What checks the values of each kind of record; to make one takes a while."""
_DAMAGE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    SafetensorError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a file raises whose content is not what was written."""
