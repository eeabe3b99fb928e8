"""The survey in a process of its own, because it runs the user's networks, which may print, ask or crash.

``python -m paribus.launch.survey_process`` reads a job from stdin and writes facts to stdout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from paribus.config import DataConfig
from paribus.errors import DataError
from paribus.experiment import Experiment
from paribus.facts import Facts
from paribus.launch.local import worker_environment


def survey_apart(experiment: Experiment, folders: Mapping[str, Path], refusals: Mapping[str, str]) -> Facts:
    """Measure data and networks in another process; see `paribus.survey.survey`.

    Args:
        experiment: The design.
        folders: The prepared images by `DataConfig.images_key`.
        refusals: By `DataConfig.images_key`, why there are no prepared images.

    Returns:
        What was measured. Where the process ends before its time, that is all that is said, in `unseen`.

    Raises:
        KeyboardInterrupt: If Ctrl-C ended the process.
    """
    job = {
        "experiment": experiment.to_toml(),
        "folders": {key: str(folder) for key, folder in folders.items()},
        "refusals": dict(refusals),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "paribus.launch.survey_process"],
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        env=worker_environment(),
        encoding="utf-8",
        check=False,
    )
    if done.returncode == 0:
        return Facts.from_json(json.loads(done.stdout))
    if done.returncode == -signal.SIGINT:
        raise KeyboardInterrupt
    how = f"signal {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"status {done.returncode}"
    return Facts(unseen=(f"Data and networks: the process that looks at them ended ({how}); a network may end it.",))


def main() -> None:
    """Serve one job; what networks print goes to stderr, and one that asks for input finds none."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # End without a traceback of its own.
    facts = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.load(sys.stdin)

    from paribus.data import Dataset, load_prepared
    from paribus.survey import survey

    def load(config: DataConfig) -> Dataset:
        key = config.images_key
        if key in job["refusals"]:
            raise DataError(job["refusals"][key])
        return load_prepared(Path(job["folders"][key]))

    json.dump(survey(Experiment.parse(job["experiment"]), load).to_json(), facts)
    facts.close()


if __name__ == "__main__":
    main()
