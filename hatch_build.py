"""Compiles the kernels of the native engine when the package is built or installed.

Without a C++ compiler the package is built all the same, and says so; the torch engine then trains everything.
"""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src", "paribus", "engines", "native")


class Kernels(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled kernels beside their loader, and into the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and mark the wheel as one of this platform."""
        if self.target_name != "wheel":
            return
        build = _load(Path(self.root) / NATIVE / "build.py")
        try:
            written = build.compile_kernels()
        except build.BuildError as error:
            self.app.display_warning(f"The native engine is left out: {error}. The torch engine serves.")
            return
        build_data["artifacts"] += [str(path.relative_to(self.root)) for path in written]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _load(path: Path) -> ModuleType:
    """Import a file by itself: the package cannot be imported where it is being built."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
