"""Learning-rate range tests in a process of their own, before the runs, because they run the users' networks.

``python -m paribus.launch.range_process`` reads a job per line from stdin and writes a line to stdout for each that is
done.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from paribus import processes, rate_range, tuning
from paribus.config import RATE
from paribus.engines import ENGINES
from paribus.experiment import RunSpec
from paribus.launch.launcher import Pack
from paribus.launch.messages import answer, decode_pack, encode_pack
from paribus.launch.packs import Supplies
from paribus.launch.progress import say
from paribus.store import RangeTest, Results

_ENGINE = "torch"


@dataclass(frozen=True)
class Job:
    """One range test: what is trained, as a pack of its own, and at which rates."""

    pack: Pack
    rates: tuple[float, ...]


def missing(results: Results, supplies: Supplies) -> list[Job]:
    """Return the range tests that the experiment should have and the folder does not."""
    tried = rate_range.wanted(results.experiment, results.tunings)
    known = results.ranges()
    jobs = [_job(results, supplies, arm, rate_range.rates_for(rates)) for arm, rates in tried.items()]
    return [job for job in jobs if not _is_made(job, known.get(job.pack.specs[0].arm))]


def _is_made(job: Job, known: RangeTest | None) -> bool:
    """Whether a test is there already: of the same run, through the same rates."""
    return known is not None and (known.digest, known.planned) == (job.pack.specs[0].digest, job.rates)


def _job(results: Results, supplies: Supplies, arm: str, rates: tuple[float, ...]) -> Job:
    """One test, by the first of the seeds that choose rates."""
    from paribus.models import model_code_digest

    recipe = results.experiment.arms[arm].recipe.with_factors({RATE: rates[0]})
    prepared, code = supplies.data_of(recipe), model_code_digest(recipe.model)
    seed = tuning.seeds(results.experiment)[0]
    spec = RunSpec(arm, seed, recipe, prepared.fingerprint, ENGINES[_ENGINE].identity_of(recipe), code, is_tuning=True)
    return Job(Pack((spec,), _ENGINE, prepared.folder), rates)


def make_range_tests(results: Results, supplies: Supplies) -> None:
    """Make the range tests that are missing, with no runs beside them, and keep each as soon as it is there.

    A test that cannot be made is named on stderr and tried again by the next `paribus run`: no run waits for it, and no
    verdict rests on it. Whatever ends this ends the process; what it had done is kept.
    """
    jobs = missing(results, supplies)
    if not jobs:
        return
    with contextlib.closing(RangeProcess(jobs)) as process:
        for told in process.answers():
            if isinstance(told, RangeTest):
                results.write_range(told)
            else:
                say(told)


class RangeProcess:
    """A process that makes range tests one after the other; it never gets Ctrl-C, and `close` ends it."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._process = processes.start("paribus.launch.range_process")

    def answers(self) -> Iterator[RangeTest | str]:
        """Yield each test as it is done, or a sentence on why there is none."""
        open_ = [job.pack.specs[0].arm for job in self._jobs]
        for line in self._lines():
            told, arm = json.loads(line), open_.pop(0)
            if "failure" in told:
                yield _failed(arm, told["failure"])
            else:
                yield RangeTest.from_json(told, Path("ranges") / f"{arm}.json")
        yield from (_failed(arm, f"its process ended with status {self._process.returncode}") for arm in open_)

    def _lines(self) -> Iterator[str]:
        with self._process as process:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # It has ended already, as its status will tell.
                process.stdin.write("".join(_line(job) for job in self._jobs))
                process.stdin.close()
            yield from process.stdout

    def close(self) -> None:
        """End the process, whatever it is at; one that has ended stays as it is."""
        processes.end(self._process)


def _failed(arm: str, why: str) -> str:
    return f"The learning-rate range test of {arm} could not be made, and the report has none: {why}"


def _line(job: Job) -> str:
    return json.dumps({"pack": encode_pack(job.pack, Path()), "rates": job.rates}) + "\n"


def main() -> None:
    """Serve the jobs of stdin; what networks print goes to stderr, and one that asks for input finds none."""
    answers = processes.take_stdout()
    jobs = [json.loads(line) for line in sys.stdin]

    import torch

    torch.set_num_threads(processes.THREADS)
    for job in jobs:
        answers.write(answer(partial(_test, job)))
        answers.flush()


def _test(job: dict[str, object]) -> dict[str, object]:
    from paribus.data import load_prepared
    from paribus.engines.range_test import range_test

    pack, _ = decode_pack(json.loads(str(job["pack"])))
    rates = job["rates"]
    assert isinstance(rates, list)
    return asdict(range_test(pack.specs[0], load_prepared(pack.dataset), rates))


if __name__ == "__main__":
    main()
