"""How many epochs of an arm fit in the control's training time: whole epochs of both, timed in turn.

``python -m paribus.launch.equal_seconds`` is the process that times them, set up like a worker, so that what is timed
is what will be trained. It reads two packs from stdin and answers with the seconds of each round, or with why not.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from paribus import processes
from paribus.config import EPOCHS, RATE, Recipe
from paribus.errors import RunError
from paribus.launch import environment
from paribus.launch.launcher import Pack
from paribus.launch.messages import answer, decode_pack, encode_pack
from paribus.store import EpochsChoice

LEAST_ROUNDS, MOST_ROUNDS = 3, 7
ENOUGH_S = 20.0
_LAST_LINES = 3
_HARMLESS_RATE = 1e-6  # No run diverges at it, and an epoch takes as long as at any other.

Rounds = tuple[tuple[float, float], ...]


def for_timing(recipe: Recipe) -> Recipe:
    """Return a recipe whose epochs take as long as the given one's, that cannot diverge and has enough of them."""
    epochs = max(recipe.train.epochs, MOST_ROUNDS + 1)
    return recipe.with_factors({RATE: _HARMLESS_RATE, EPOCHS: epochs, "train.patience": None})


def choose(control: Pack, arm: Pack, control_epochs: int) -> EpochsChoice:
    """Time both recipes on this machine and return how many epochs of the arm's fit in the control's time.

    Args:
        control: One run of the control, by `for_timing`.
        arm: One run of the arm, by `for_timing`.
        control_epochs: How many epochs the control is trained.

    Raises:
        RunError: If one of them cannot be trained.
    """
    engines = control.specs[0].engine, arm.specs[0].engine
    return choice_from(_timed(control, arm), control_epochs, engines)


def choice_from(rounds: Rounds, control_epochs: int, engines: tuple[str, str]) -> EpochsChoice:
    """Return the choice that measured rounds of (control, arm) seconds per epoch make."""
    ratio = statistics.median(control / arm for control, arm in rounds)
    return EpochsChoice(
        epochs=max(1, math.floor(control_epochs * ratio)),
        control_epochs=control_epochs,
        ratio=ratio,
        seconds_per_epoch=statistics.median(arm for _, arm in rounds),
        control_seconds_per_epoch=statistics.median(control for control, _ in rounds),
        rounds=rounds,
        engine=engines[0],
        arm_engine=engines[1],
        processor=environment.processor(),
    )


def _timed(control: Pack, arm: Pack) -> Rounds:
    process = processes.start("paribus.launch.equal_seconds", stderr=subprocess.PIPE)
    try:
        said, printed = process.communicate(encode_pack(control, Path()) + encode_pack(arm, Path()))
    finally:
        processes.end(process)
    if not said:  # The network ended the process, or the system did: what was printed last may say why.
        last = "\n".join(printed.strip().splitlines()[-_LAST_LINES:])
        said = json.dumps({"failure": f"its process ended with status {process.returncode}\n{last}".strip()})
    told = json.loads(said)
    if "failure" in told:
        raise RunError(
            f"Epochs of `{arm.specs[0].arm}` and of the control must be timed to make their seconds equal, but this "
            f"failed: {told['failure']}\nMend the cause and run the same command again."
        )
    return tuple((control_s, arm_s) for control_s, arm_s in told["rounds"])


def main() -> None:
    """Serve the two packs of stdin; what networks print goes to stderr, and one that asks for input finds none."""
    answers = processes.take_stdout()
    packs = [decode_pack(json.loads(line))[0] for line in sys.stdin]

    import torch

    torch.set_num_threads(processes.THREADS)
    answers.write(answer(partial(_rounds, *packs)))
    answers.flush()


def _rounds(control_pack: Pack, arm_pack: Pack) -> dict[str, list[tuple[float, float]]]:
    """Time both in turn; the first epoch of each warms up and does not count."""
    control, arm = _epoch_seconds(control_pack), _epoch_seconds(arm_pack)
    next(control), next(arm)
    rounds: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(rounds) < MOST_ROUNDS and (len(rounds) < LEAST_ROUNDS or time.perf_counter() - start < ENOUGH_S):
        rounds.append((next(control), next(arm)))
    return {"rounds": rounds}


def _epoch_seconds(pack: Pack) -> Iterator[float]:
    from paribus import engines
    from paribus.data import load_prepared

    for event in engines.load(pack.engine).fit(pack.specs, load_prepared(pack.dataset).without_test(), {}):
        if isinstance(event, engines.EpochEnd):
            yield event.seconds
    raise RunError(f"the loss of {pack.specs[0].arm} was no longer finite before enough epochs were timed")


if __name__ == "__main__":
    main()
