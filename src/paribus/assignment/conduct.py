"""Run or continue the experiments of the assignment one after the other, and write the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paribus import data
from paribus.assignment.requests import EXPERIMENTS
from paribus.assignment.stored import Stored, experiment_of
from paribus.assignment.supplies import require_supplies
from paribus.assignment.write import Written, write
from paribus.errors import ConfigError, ParibusError, RunError, nearest
from paribus.experiment import Experiment
from paribus.launch import conduct as launch
from paribus.launch.progress import say
from paribus.store import Results


@dataclass(frozen=True)
class Options:
    """Where and how: `out` holds a folder for each experiment and one for the document.

    `only` names the experiments to run; none means all. `workers` None means as many as there are cores.
    """

    out: Path = Path("results")
    data_dir: Path | None = None
    workers: int | None = None
    is_quick: bool = False
    only: tuple[str, ...] = ()


def run(options: Options = Options()) -> Written:
    """Train what is missing, then write the document; where nothing is missing, nothing is trained.

    The document is written anew after every experiment. One whose runs failed does not keep the next from running.

    Args:
        options: Where and how.

    Returns:
        The document, and where it was written.

    Raises:
        ConfigError: If `only` names what is no experiment of the assignment.
        DataError: With all that is missing, before anything is trained.
        StoreError: If a folder is locked by another process or cannot be written.
        RunError: After everything else is done and written, if runs failed.
    """
    designs = {name: experiment_of(name, is_quick=options.is_quick) for name in _chosen(options.only)}
    folders = {name: options.out / design.name for name, design in designs.items()}
    ahead = {name: design for name, design in designs.items() if not is_finished(folders[name], design)}
    data.search_folders(options.data_dir)
    require_supplies(ahead, options.data_dir, is_quick=options.is_quick)
    failed: list[str] = []
    written = None
    for number, (name, design) in enumerate(designs.items(), 1):
        say(f"{design.name}, {number} of {len(designs)}: {EXPERIMENTS[name]}")
        if name in ahead:
            failed += _train(design, options)
        else:
            launch.rebuild(Results.open(folders[name]))
        written = write(Stored.gather(options.out, is_quick=options.is_quick))
    assert written is not None
    if failed:
        raise RunError(f"{' '.join(failed)}\nThe document tells what there is: `{written.file}`.")
    return written


def is_finished(folder: Path, experiment: Experiment) -> bool:
    """Whether a folder holds every run of this very experiment, so that only its report is to be written."""
    try:
        stored, asked = Results.open(folder), Results(folder, experiment)
    except ParibusError:
        return False  # There is nothing, or what to do about it is for `run` to say.
    return stored.experiment == asked.experiment and asked.is_whole()


def _train(experiment: Experiment, options: Options) -> list[str]:
    """Train what is missing; return the message where runs failed, which the other experiments need not wait for."""
    run_options = launch.RunOptions(options.out / experiment.name, options.data_dir, options.workers)
    try:
        launch.run(experiment, run_options)
    except RunError as error:
        return [str(error)]
    return []


def _chosen(only: Sequence[str]) -> Mapping[str, str]:
    for name in only:
        if name not in EXPERIMENTS:
            raise ConfigError(
                f"`--only` must name experiments of the assignment ({', '.join(EXPERIMENTS)}), but got "
                f"`{name}`.{nearest(name, EXPERIMENTS)}"
            )
    return {name: about for name, about in EXPERIMENTS.items() if not only or name in only}
