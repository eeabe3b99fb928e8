"""What a result was made on: versions, processor, threads, engine and commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from paribus.engines.native import build, library

PACKAGES = ("paribus", "torch", "numpy", "scipy", "pillow", "scikit-learn", "timm", "onnxruntime")
"""What decides results or computes what they begin with; one that is not installed is left out."""


def describe(engine: str, workers: int, threads_per_run: int) -> dict[str, Any]:
    """Return the content of `environment.json`; it names no user, host or path."""
    return {
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "engine": engine,
        "workers": workers,
        "threads_per_run": threads_per_run,
        "instructions": None if build.missing() else library.best(),
        "git_commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """Return the processor's name; Linux tells it only in /proc/cpuinfo."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of the package's own checkout, with `+changes` where it differs; None if installed."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+changes", "--abbrev=12"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None
