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
from paribus.errors import ConfigError, DataError, ParibusError, RunError, StoreError, WeightsError, nearest
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

    The document is written anew after every experiment. One whose runs failed, or whose folder is locked by another
    process or damaged, does not keep the next from running.

    Args:
        options: Where and how.

    Returns:
        The document, and where it was written.

    Raises:
        ConfigError: If `only` names what is no experiment of the assignment.
        DataError: With all that is missing, before anything is trained.
        StoreError: After everything else is done, if a result cannot be read or the document not be written.
        RunError: After everything else is done and written, if an experiment could not be brought to its end.
    """
    designs = {name: experiment_of(name, is_quick=options.is_quick) for name in _chosen(options.only)}
    folders = {name: options.out / design.name for name, design in designs.items()}
    ahead = {
        name: design
        for name, design in designs.items()
        if not is_finished(folders[name], design, data_dir=options.data_dir)
    }
    data.search_folders(options.data_dir)
    require_supplies(ahead, options.data_dir, is_quick=options.is_quick)
    failed: list[str] = []
    written, unread = None, None
    for number, (name, design) in enumerate(designs.items(), 1):
        say(f"{design.name}, {number} of {len(designs)}: {EXPERIMENTS[name]}")
        failed += _advance(design, options, is_ahead=name in ahead)
        try:
            written, unread = write(Stored.gather(options.out, is_quick=options.is_quick)), None
        except StoreError as error:  # Mended by hand, and meanwhile the others can be trained.
            unread = error
    if unread is not None:
        raise StoreError("\n".join(dict.fromkeys([*failed, str(unread)])))
    assert written is not None
    if failed:
        raise RunError(f"{' '.join(failed)}\nThe document tells what there is: `{written.file}`.")
    return written


def is_finished(folder: Path, experiment: Experiment, *, data_dir: Path | None = None) -> bool:
    """Whether a folder holds every run of this very experiment, so that only its report is to be written.

    They must be of today's data, engines and weights, as far as these are here to tell.
    """
    try:
        stored, asked = Results.open(folder), Results(folder, experiment)
        is_whole = stored.experiment == asked.experiment and asked.is_whole()
        return is_whole and launch.is_done(experiment, launch.RunOptions(folder, data_dir))
    except (DataError, WeightsError):
        return True  # Nothing could be trained anew, and what there is has its report.
    except ParibusError:
        return False  # There is nothing, or what to do about it is for `run` to say.


def _advance(experiment: Experiment, options: Options, *, is_ahead: bool) -> list[str]:
    """Train what is missing, or write the report anew; return the message where that failed, and others go on."""
    folder = options.out / experiment.name
    try:
        if is_ahead:
            launch.run(experiment, launch.RunOptions(folder, options.data_dir, options.workers))
        else:
            launch.rebuild(Results.open(folder))
    except (RunError, StoreError) as error:
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
