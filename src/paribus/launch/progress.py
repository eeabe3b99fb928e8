"""Progress over a whole experiment: a bar on a terminal, a line every 30 seconds otherwise."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from paribus.checks import Finding
from paribus.experiment import RunSpec
from paribus.launch.launcher import EpochDone, News, RunDone, RunFailed
from paribus.wording import count, duration

LINE_EVERY_S = 30.0


class Estimate:
    """How much is left, from the epochs seen so far.

    An arm's epoch takes the mean of its own epochs; an arm not seen yet takes the mean over all arms.
    """

    def __init__(self, specs: Sequence[RunSpec], workers: int) -> None:
        self.workers = workers
        self.noun = "tuning run" if any(spec.is_tuning for spec in specs) else "run"
        self.left = {_key(spec): spec.recipe.train.epochs for spec in specs}
        self.total = sum(self.left.values())
        self.seen: dict[str, list[float]] = {}

    def note(self, news: News) -> None:
        """Take account of one piece of news."""
        key = _key(news.spec)
        if isinstance(news, EpochDone):
            self.left[key] = news.spec.recipe.train.epochs - news.epoch
            self.seen.setdefault(news.spec.arm, []).append(news.seconds)
        else:
            self.left[key] = 0

    @property
    def done(self) -> float:
        """The part of all epochs that is done or not needed any more, from 0 to 1."""
        return 1.0 - sum(self.left.values()) / self.total if self.total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Expected wall seconds until the last run is done, or None before the first epoch."""
        if not self.seen:
            return None
        every = [seconds for arm in self.seen.values() for seconds in arm]
        overall = sum(every) / len(every)
        means = {arm: sum(seconds) / len(seconds) for arm, seconds in self.seen.items()}
        runs = [epochs * means.get(arm, overall) for (arm, _, _), epochs in self.left.items()]
        return max(sum(runs) / self.workers, max(runs))


class Display(ABC):
    """Shows news of runs as they come; used as a context manager around the launch."""

    @abstractmethod
    def show(self, news: News) -> None:
        """Take one piece of news."""

    @abstractmethod
    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines(Display):
    """One line every `every_s` seconds, and one for each failed run; for logs and notebooks."""

    def __init__(self, estimate: Estimate, runs: int, stream: TextIO, every_s: float = LINE_EVERY_S) -> None:
        self.estimate, self.runs, self.stream, self.every_s = estimate, runs, stream, every_s
        self.finished = 0
        self.last = time.monotonic()

    def show(self, news: News) -> None:
        """Count; print if it is time, or if a run failed."""
        self.estimate.note(news)
        if isinstance(news, RunFailed):
            self._print(f"{news.spec.label} failed: {news.message.strip().splitlines()[0]}")
        if isinstance(news, RunDone | RunFailed):
            self.finished += 1
        if time.monotonic() - self.last >= self.every_s:
            self.last = time.monotonic()
            self._print(_summary(self.estimate, self.finished, self.runs))

    def close(self) -> None:
        """Print the last line."""
        self._print(_summary(self.estimate, self.finished, self.runs))

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class Bar(Display):
    """A bar with the time left, for a terminal."""

    def __init__(self, estimate: Estimate, runs: int, stream: TextIO) -> None:
        self.estimate, self.runs, self.finished = estimate, runs, 0
        columns = (BarColumn(bar_width=30), TextColumn("{task.description}"), TimeElapsedColumn())
        self.progress = Progress(*columns, console=Console(file=stream), transient=True)
        self.task = self.progress.add_task(_summary(estimate, 0, runs), total=1.0)
        self.progress.start()

    def show(self, news: News) -> None:
        """Move the bar."""
        self.estimate.note(news)
        if isinstance(news, RunFailed):
            first = news.message.strip().splitlines()[0]
            self.progress.console.print(f"{news.spec.label} failed: {first}", markup=False)
        if isinstance(news, RunDone | RunFailed):
            self.finished += 1
        text = _summary(self.estimate, self.finished, self.runs)
        self.progress.update(self.task, completed=self.estimate.done, description=text)

    def close(self) -> None:
        """Remove the bar."""
        self.progress.stop()


def display(specs: Sequence[RunSpec], workers: int, stream: TextIO | None = None) -> Display:
    """Return a bar where the stream (stderr) is a terminal, lines otherwise."""
    stream = stream or sys.stderr
    estimate = Estimate(specs, workers)
    return Bar(estimate, len(specs), stream) if stream.isatty() else Lines(estimate, len(specs), stream)


def _key(spec: RunSpec) -> tuple[str, int, float]:
    """What tells runs apart; those that tune one arm differ in their rates."""
    return spec.arm, spec.seed, spec.recipe.optim.lr


def warn(findings: Sequence[Finding], unseen: Sequence[str] = ()) -> None:
    """Name on stderr the checks that fire, and what they could not look at, before anything is trained."""
    lines = [
        f"{each.code} ({each.level}), {each.where}: {each.message}" for each in findings if each.outcome == "fired"
    ]
    for line in [*lines, *(f"not looked at: {each}" for each in unseen)]:
        say(line)


def say(line: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"{line}\n")


def _summary(estimate: Estimate, finished: int, runs: int) -> str:
    left = estimate.seconds_left
    time_left = "" if left is None or finished == runs else f", about {duration(left)} left"
    return f"{finished} of {count(runs, estimate.noun)}, {100 * estimate.done:.0f} % of the epochs{time_left}"
