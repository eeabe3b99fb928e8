"""Compiles the kernels when the package is built, once for each set of instructions, and finds them again.

The package's build (`hatch_build.py`) loads this file by itself, so it imports nothing of paribus. After a change of
the kernels, ``make kernels`` runs it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("api.cpp", "network.cpp")
FLAGS = (
    "-O3",
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-ffp-contract=fast",
)
INSTRUCTIONS: dict[str, tuple[str, ...]] = {"portable": ()}
"""What kernels are compiled for, by name, with the compiler's flags."""
if platform.machine().lower() in ("x86_64", "amd64"):
    INSTRUCTIONS |= {
        "avx2": ("-mavx2", "-mfma"),
        "avx512": ("-mavx512f", "-mavx512dq", "-mavx512vl", "-mfma"),
    }


class BuildError(Exception):
    """The kernels cannot be compiled here; the text says why."""


def path_of(instructions: str) -> Path:
    """Return where the kernels for some instructions are, or would be."""
    return HERE / f"kernels_{instructions}.so"


@functools.cache
def digest() -> str:
    """Return a digest of the kernels' sources and flags, which a compiled library of them carries."""
    text = hashlib.sha256(repr((FLAGS, sorted(INSTRUCTIONS.items()))).encode())
    for path in sorted((HERE / "kernels").iterdir()):
        text.update(path.name.encode() + b"\0" + path.read_bytes())
    return text.hexdigest()


def missing() -> str | None:
    """Return why the kernels cannot be used, None if they can."""
    if not all(path_of(name).exists() for name in INSTRUCTIONS):
        return "its kernels were not compiled when paribus was installed, for want of a C++ compiler"
    if not stamp().exists() or stamp().read_text() != digest():
        return "its kernels are older than their sources; install paribus again, or run make kernels"
    return None


def stamp() -> Path:
    """Return the file that tells from which sources the kernels were compiled."""
    return HERE / "kernels.sha256"


def compile_kernels() -> list[Path]:
    """Compile the kernels into the package and return the files that were written.

    The compiler is the one that CXX names, with CXXFLAGS added, else c++, g++ or clang++.

    Raises:
        BuildError: If there is no compiler, or it fails.
    """
    compiler = _compiler()
    written = []
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        for name, flags in INSTRUCTIONS.items():
            made = Path(folder) / path_of(name).name
            sources = [str(HERE / "kernels" / source) for source in SOURCES]
            command = [
                *compiler,
                *FLAGS,
                *flags,
                *shlex.split(os.environ.get("CXXFLAGS", "")),
                *sources,
                "-o",
                str(made),
            ]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise BuildError(f"the compiler `{compiler[0]}` cannot be started: {error.strerror}") from error
            if done.returncode:
                raise BuildError(f"`{shlex.join(command)}` failed:\n{done.stderr.strip()}")
            written.append(made.replace(path_of(name)))
        fresh = Path(folder) / stamp().name
        fresh.write_text(digest())
        written.append(fresh.replace(stamp()))
    return written


def _compiler() -> list[str]:
    named = os.environ.get("CXX")
    if named:
        return shlex.split(named)
    found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if found is None:
        raise BuildError("there is no C++ compiler (looked for c++, g++, clang++ and CXX)")
    return [found]


if __name__ == "__main__":
    try:
        for each in compile_kernels():
            sys.stdout.write(f"{each}\n")
    except BuildError as error:
        sys.exit(f"The kernels cannot be compiled: {error}")
