"""The survey in a process of its own, because it runs the user's networks, which may print, ask or crash.

``python -m paribus.launch.survey_process`` reads a job from stdin and writes facts to stdout.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import CancelledError
from pathlib import Path

from paribus import processes
from paribus.config import DataConfig
from paribus.errors import DataError
from paribus.experiment import Experiment
from paribus.facts import Facts


def survey_apart(experiment: Experiment, folders: Mapping[str, Path], refusals: Mapping[str, str]) -> Facts:
    """Measure data and networks in another process and wait for it; see `SurveyProcess`."""
    with contextlib.closing(SurveyProcess(experiment, folders, refusals)) as process:
        return process.facts()


class SurveyProcess:
    """A process that runs `paribus.survey.survey`; it never gets Ctrl-C, and `close` ends it.

    Args:
        experiment: The design.
        folders: The prepared images by `DataConfig.images_key`.
        refusals: By `DataConfig.images_key`, why there are no prepared images.
    """

    def __init__(self, experiment: Experiment, folders: Mapping[str, Path], refusals: Mapping[str, str]) -> None:
        job = {
            "experiment": experiment.to_toml(),
            "folders": {key: str(folder) for key, folder in folders.items()},
            "refusals": dict(refusals),
        }
        self._job = json.dumps(job)
        self._is_closed = False
        self._process = processes.start("paribus.launch.survey_process")

    def facts(self) -> Facts:
        """Wait for what was measured; where the process ends before its time, `unseen` says that, and nothing else.

        Raises:
            CancelledError: If `close` ended the process.
        """
        said, _ = self._process.communicate(self._job)
        if self._is_closed:
            raise CancelledError
        code = self._process.returncode
        if code == 0 and said:
            return Facts.from_json(json.loads(said))
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        return Facts(
            unseen=(f"Data and networks: the process that looks at them ended ({how}); a network may end it.",)
        )

    def close(self) -> None:
        """End the process, whatever it is at; one that has ended stays as it is."""
        self._is_closed = self._process.poll() is None
        processes.end(self._process)


def main() -> None:
    """Serve one job; what networks print goes to stderr, and one that asks for input finds none."""
    facts = processes.take_stdout()
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
