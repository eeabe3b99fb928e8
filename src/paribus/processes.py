"""Processes of this package beside the one that a user started: workers, and those that a user's code may end."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TextIO

THREADS = 1
"""Of a process that trains; the launcher fills the cores with processes."""

# glibc gives big blocks back to the system after each use, so that every step would fault its pages in anew. These
# settings keep them; they cost no more memory than the step's peak. Other C libraries ignore them.
_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_TOP_PAD_": "16777216"}


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module of this package."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """Return the environment of such a process.

    It imports from where this process does. The working directory, which is '' there under ``python -c`` and in a
    notebook, comes last: a torch.py may lie in it.
    """
    folders = [each for each in sys.path if each] + ([str(Path.cwd())] if "" in sys.path else [])
    path = {"PYTHONPATH": os.pathsep.join(folders)}
    return {**_ALLOCATOR, **os.environ, **path, "OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS)}


def start(module: str, *arguments: str, stderr: IO[str] | int | None = None) -> subprocess.Popen[str]:
    """Start a process that runs a module of this package; it never gets Ctrl-C, so `end` must end it.

    Args:
        module: Which one, by its whole name.
        arguments: Of its command line.
        stderr: Where what is printed goes, as `subprocess` takes it; None is this process's own.

    Returns:
        The process, with pipes for stdin and stdout.
    """
    with interrupts_held():
        return subprocess.Popen(
            command(module, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment(),
            encoding="utf-8",
        )


def end(process: subprocess.Popen[str]) -> None:
    """End a process, whatever it is at; one that has ended stays as it is."""
    process.kill()
    process.wait()


def import_beside(modules: Sequence[str]) -> None:
    """Import modules in a thread; who needs one meanwhile waits for it."""

    def work() -> None:
        for name in modules:
            importlib.import_module(name)

    threading.Thread(target=work, daemon=True).start()


def take_stdout() -> TextIO:
    """Return what was stdout, for one's own lines; what networks and libraries print goes to stderr from now on."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for the moment; a process started meanwhile never gets it, not even while it starts up."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
