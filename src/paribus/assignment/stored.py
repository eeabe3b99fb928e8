"""What the document is made from: the results of the experiments, as far as there are any."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paribus import experiments
from paribus.assignment import quick
from paribus.assignment.requests import EXPERIMENTS
from paribus.errors import StoreError
from paribus.experiment import Experiment
from paribus.report.material import Material
from paribus.report.page import Figure
from paribus.store import Results, files

FOLDER = "assignment"


def experiment_of(name: str, *, is_quick: bool) -> Experiment:
    """Return a shipped experiment of the assignment, or its quick form, which has a name of its own."""
    return quick.experiment(name) if is_quick else Experiment.load(experiments.find(name))


@dataclass(frozen=True)
class Stored:
    """Results by the shipped experiment's name, those only that have verdicts; `parent` holds all their folders.

    `changed` names those whose verdicts are of what the experiment was before it was changed.
    """

    parent: Path
    is_quick: bool
    materials: Mapping[str, Material]
    changed: tuple[str, ...] = ()

    @classmethod
    def gather(cls, parent: Path, *, is_quick: bool) -> Stored:
        """Read what there is.

        Raises:
            StoreError: If a result cannot be read.
        """
        found, changed = {}, []
        for name in EXPERIMENTS:
            folder = parent / folder_name(name, is_quick=is_quick)
            if not (folder / "verdicts.json").is_file():
                continue
            results = Results.open(folder)
            if results.has_verdicts():
                found[name] = _as_judged(results, results.verdicts())
            else:
                changed.append(name)
        return cls(parent, is_quick, found, tuple(changed))

    @property
    def folder(self) -> Path:
        """Where the document is written."""
        return self.parent / folder_name(FOLDER, is_quick=self.is_quick)

    def why_lacking(self, name: str) -> str:
        """Say why an experiment has no verdicts."""
        return "was changed and is not finished" if name in self.changed else "has not been run"

    def report_of(self, experiment: str) -> str:
        """Return where an experiment's whole report lies, seen from the document: Markdown where only that is kept."""
        folder = folder_name(experiment, is_quick=self.is_quick)
        kind = "html" if (self.parent / folder / "report.html").is_file() else "md"
        return f"../{folder}/report.{kind}"

    def figure(self, name: str) -> Figure | None:
        """Return a figure of a report by ``"experiment/figure"``, None where the report has none of that name.

        Raises:
            StoreError: If the drawing is there but `report.md` does not show it.
        """
        experiment, _, stem = name.partition("/")
        if experiment not in self.materials:
            return None
        folder = self.materials[experiment].results.folder
        path = folder / "figures" / f"{stem}.svg"
        if not path.is_file():
            return None
        with files.reading(path), files.reading(folder / "report.md"):
            svg = path.read_text(encoding="utf-8").rstrip("\n")
            shown = _SHOWN.format(re.escape(stem))
            found = re.search(shown, (folder / "report.md").read_text(encoding="utf-8"), re.MULTILINE)
        if found is None:
            raise StoreError(
                f"`{folder / 'report.md'}` must show the figure `{stem}`, but does not. Write it anew: "
                f"`paribus report {folder}`."
            )
        return Figure(f"{experiment}-{stem}", svg, _plain(found[1]), _plain(found[2]))


def _as_judged(results: Results, verdicts: Mapping[str, Any]) -> Material:
    """Join a result and its verdicts; where what was found is not kept, only these know which arms there were."""
    arms = {name: arm for name, arm in results.experiment.arms.items() if name in verdicts["arms"]}
    results.experiment = replace(results.experiment, arms=arms)
    return Material.gather(results, verdicts)


def folder_name(name: str, *, is_quick: bool) -> str:
    """Return the name of a result folder, or of the document's."""
    return f"{name}-{quick.SUFFIX}" if is_quick else name


def _plain(markdown: str) -> str:
    """Undo what Markdown needs: `paribus.report.render.markdown_text` backwards."""
    return html.unescape(re.sub(r"\\([\\`*\[\]|~_#+-])", r"\1", markdown))


_SHOWN = r"^!\[(.*)\]\(figures/{}\.svg\)\n\n\*(.*)\*$"
"""A figure in `report.md`: what it shows in words, and its caption."""
