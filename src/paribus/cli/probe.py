"""`paribus probe`: what is printed, and the file for programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from paribus.cli.files import write
from paribus.report import ranking as page
from paribus.terminal import show_table

if TYPE_CHECKING:
    from paribus.transfer.ranking import Ranking


def show(ranking: Ranking) -> None:
    """Print the table and, below it, which backbone to take and why."""
    show_table(page.COLUMNS, page.rows(ranking), " ".join(page.why(ranking)))


def write_json(ranking: Ranking, file: Path) -> None:
    """Write the ranking for programs.

    Raises:
        ConfigError: If the file cannot be written.
    """
    choice = {"name": ranking.choice.name, "input": ranking.choice.input}
    write(file, json.dumps(asdict(ranking) | {"choice": choice}, indent=1) + "\n", "--json")
