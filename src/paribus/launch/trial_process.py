"""Short trials of recipes on this machine, to say how long their runs will take, in a process like those that train.

A worker has one thread and an allocator's settings that no user's process has: a trial beside them would promise runs
half as long again. ``python -m paribus.launch.trial_process`` reads a pack per line and writes a line for each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from paribus import processes
from paribus.config import AugmentConfig
from paribus.errors import ModelError
from paribus.launch.launcher import Pack
from paribus.launch.messages import answer, decode_pack, encode_pack


def seconds_per_epoch(packs: Mapping[str, Pack]) -> dict[str, float]:
    """Return the expected seconds of one epoch of each arm, from about half a second of training steps of each kind.

    Args:
        packs: What would be trained, by arm; of each pack the first run. Values still to be found stand at the
            control's.

    Raises:
        ModelError: If a network cannot be trained a step, or ends its process.
    """
    if not packs:
        return {}
    process = processes.start("paribus.launch.trial_process")
    try:
        said, _ = process.communicate("".join(encode_pack(pack, Path()) for pack in packs.values()))
    finally:
        processes.end(process)
    answers = [json.loads(line) for line in said.splitlines()]
    for arm, told in zip(packs, answers, strict=False):
        if "failure" in told:
            raise _failed(arm, told["failure"])
    if len(answers) < len(packs):
        raise _failed(list(packs)[len(answers)], f"its process ended with status {process.returncode}")
    return {arm: told["seconds"] for arm, told in zip(packs, answers, strict=True)}


def _failed(arm: str, why: str) -> ModelError:
    return ModelError(
        f"A network must train a few steps for the time to be told, but that of {arm} did not: {why}\nMend it; "
        "`paribus check` looks at every network."
    )


def main() -> None:
    """Serve the packs of stdin; what networks print goes to stderr, and one that asks for input finds none."""
    answers = processes.take_stdout()
    lines = list(sys.stdin)

    import torch

    torch.set_num_threads(processes.THREADS)
    measured: dict[str, float] = {}
    for line in lines:
        pack, _ = decode_pack(json.loads(line))
        answers.write(answer(partial(_seconds_per_epoch, pack, measured)))
        answers.flush()


def _seconds_per_epoch(pack: Pack, measured: dict[str, float]) -> dict[str, float]:
    """Return the seconds of one epoch; `measured` has trials made so far, seconds per example by kind of run."""
    from paribus import engines
    from paribus.data import draw, load_prepared

    spec, dataset = pack.specs[0], load_prepared(pack.dataset)
    images = len(draw(dataset, spec.recipe.data, spec.seed).train_indices)
    kind = _kind(pack, images)
    if kind not in measured:
        measured[kind] = engines.load(pack.engine).seconds_per_example(spec, dataset)
    return {"seconds": measured[kind] * images}


def _kind(pack: Pack, images: int) -> str:
    """Return what decides how long an image of an epoch takes; rates and their schedule do not.

    Changes are drawn for the whole source, however many of its images an arm trains on: how many, counts with them.
    """
    recipe = pack.specs[0].recipe
    optim, train = recipe.optim, recipe.train
    update = (optim.name, optim.momentum > 0, optim.nesterov, optim.weight_decay > 0, train.average is not None)
    changes = None if recipe.augment == AugmentConfig() else (recipe.augment.model_dump_json(), images)
    step = (recipe.model.model_dump_json(), train.batch_size, train.precision, *update)
    return repr((pack.engine, recipe.data.images_key, step, changes))


if __name__ == "__main__":
    main()
