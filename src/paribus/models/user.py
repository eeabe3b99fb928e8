"""Networks of the user's own: ``"path/to/file.py:Class"`` or ``"package.module:Class"``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from paribus.config import ModelConfig
from paribus.errors import ModelError, nearest

if TYPE_CHECKING:
    from torch import nn


def is_user_model(config: ModelConfig) -> bool:
    """Whether the model is a class of the user's."""
    return ":" in config.name


def model_code_digest(config: ModelConfig) -> str | None:
    """Return the SHA-256 of the file that holds the user's class, a digest of pretrained weights, or else None.

    Raises:
        ModelError: If the file or module is not there.
        WeightsError: If the weights are not there.
    """
    if config.name == "pretrained":
        from paribus.transfer.weights import find_weights

        return find_weights(config.options["weights"], config.options["backbone"]).digest
    if not is_user_model(config):
        return None
    return hashlib.sha256(_source(config.name).read_bytes()).hexdigest()


def user_class(name: str) -> type[nn.Module]:
    """Import the user's class.

    Args:
        name: ``"path/to/file.py:Class"``, relative to the working directory, or ``"package.module:Class"``.

    Raises:
        ModelError: If the file, module or class is not there, fails on import, is not an `nn.Module`, or is defined in
            another file, which `model_code_digest` would not follow.
    """
    from torch import nn

    where, _, class_name = name.rpartition(":")
    module = _import(name)
    if not hasattr(module, class_name):
        raise ModelError(
            f"`{where}` must have the class `{class_name}`, but has none.{nearest(class_name, vars(module))}"
        )
    found = getattr(module, class_name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ModelError(f"`model.name` must name a subclass of torch.nn.Module, but `{name}` is {found!r}. Name one.")
    if found.__module__ != module.__name__:
        is_reachable = found.__qualname__.isidentifier()  # Not one that a function made.
        instead = f"Name it as `{found.__module__}:{found.__qualname__}`" if is_reachable else "Define it in that file"
        raise ModelError(
            "`model.name` must name a class by the module that defines it, as only the contents of that file identify "
            f"its runs, but `{name}` comes from `{found.__module__}`. {instead}."
        )
    return found


def user_model(config: ModelConfig, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Construct the user's class with the model's options as keyword arguments.

    `image_shape` and `num_classes` are passed too where the constructor takes them and no option gives them.

    Raises:
        ModelError: If the class cannot be had, an option is unknown or missing, or the constructor fails.
    """
    kind = user_class(config.name)
    arguments = _arguments(config, kind, {"image_shape": image_shape, "num_classes": num_classes})
    try:
        return kind(**arguments)
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"`{config.name}` must be constructed with {', '.join(arguments) or 'no arguments'}, but its constructor "
            f"raised {type(error).__name__}: {error}"
        ) from error


def _arguments(config: ModelConfig, kind: type[nn.Module], from_data: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    by_keyword = {
        parameter.name: parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    for key in config.options:
        if key not in by_keyword and not takes_any:
            known = ", ".join(by_keyword) or "none"
            raise ModelError(f"Unknown option `model.{key}`.{nearest(key, by_keyword)} `{config.name}` takes: {known}.")
    given = {key: value for key, value in from_data.items() if key in by_keyword or takes_any} | config.options
    for key, parameter in by_keyword.items():
        if parameter.default is parameter.empty and key not in given:
            raise ModelError(f"`{config.name}` needs the option `model.{key}`, but it is missing. Add it.")
    return given


def _import(name: str) -> ModuleType:
    source, where = _source(name), name.rpartition(":")[0]
    try:
        if not where.endswith(".py"):
            return importlib.import_module(where)
        return _import_file(source)
    except (Exception, SystemExit) as error:
        raise ModelError(f"`{where}` must import without error, but raised {type(error).__name__}: {error}") from error


def _import_file(path: Path) -> ModuleType:
    """Import a file afresh, under a name that no other file has."""
    module_name = f"paribus_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # Dataclasses and pickles of the file look it up there.
    spec.loader.exec_module(module)
    return module


def _source(name: str) -> Path:
    """Return the file that holds the class, without running it."""
    where = name.rpartition(":")[0]
    if where.endswith(".py"):
        path = Path(where)
        if not path.is_file():
            raise ModelError(
                f"`model.name` must name a Python file that exists, but there is no `{path}` in `{Path.cwd()}`. "
                "Check the path."
            )
        return path
    try:
        spec = importlib.util.find_spec(where) if where else None
    except (Exception, SystemExit) as error:  # Looking for a submodule runs its package.
        raise ModelError(
            f"`model.name` must name a module that can be imported, but `{where}` raised {type(error).__name__}: "
            f"{error}. Install it, or give the path of its file: `path/to/file.py:Class`."
        ) from error
    if spec is None or spec.origin is None or not spec.has_location:
        raise ModelError(
            f"`model.name` must name a module that can be imported, but there is no `{where}`. Install it, or give the "
            "path of its file: `path/to/file.py:Class`."
        )
    return Path(spec.origin)
