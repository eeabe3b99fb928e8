"""How many epochs of an arm fit in the control's training time: whole epochs of both, timed in turn.

``python -m paribus.launch.equal_seconds`` is the process that times them, set up like a worker, so that what is timed
is what will be trained. It reads two packs from stdin and prints the seconds of each round.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from paribus import processes
from paribus.config import EPOCHS, RATE, Recipe
from paribus.errors import RunError
from paribus.launch import environment
from paribus.launch.launcher import Pack
from paribus.launch.messages import decode_pack, encode_pack
from paribus.store import EpochsChoice

LEAST_ROUNDS, MOST_ROUNDS = 3, 7
ENOUGH_S = 20.0
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
    done = subprocess.run(
        processes.command("paribus.launch.equal_seconds"),
        input=encode_pack(control, Path()) + encode_pack(arm, Path()),
        env=processes.environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    lines, said = done.stdout.splitlines(), done.stderr.strip().splitlines()
    if done.returncode or not lines:
        raise RunError(
            f"Epochs of `{arm.specs[0].arm}` and of the control must be timed to make their seconds equal, but this "
            f"failed: {said[-1] if said else f'exit status {done.returncode}'}. Mend the cause and run the same "
            "command again."
        )
    return tuple((control_s, arm_s) for control_s, arm_s in json.loads(lines[-1]))


def main() -> None:
    """Time the two packs of stdin in turn; the first epoch of each warms up and does not count."""
    seconds = processes.take_stdout()

    import torch

    torch.set_num_threads(processes.THREADS)
    control, arm = (_epoch_seconds(decode_pack(json.loads(sys.stdin.readline()))[0]) for _ in range(2))
    next(control), next(arm)
    rounds: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(rounds) < MOST_ROUNDS and (len(rounds) < LEAST_ROUNDS or time.perf_counter() - start < ENOUGH_S):
        rounds.append((next(control), next(arm)))
    seconds.write(json.dumps(rounds) + "\n")
    seconds.flush()


def _epoch_seconds(pack: Pack) -> Iterator[float]:
    from paribus import engines
    from paribus.data import load_prepared

    for event in engines.load(pack.engine).fit(pack.specs, load_prepared(pack.dataset).without_test(), {}):
        if isinstance(event, engines.EpochEnd):
            yield event.seconds


if __name__ == "__main__":
    main()
