"""`paribus audit`: what is printed, and the files that are written."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from paribus.cli.files import write
from paribus.wording import count

if TYPE_CHECKING:
    from paribus.audit import Audit, Finding

SHOWN = 5


def lines(audit: Audit) -> list[str]:
    """Return what is printed: the counts, what was not looked at, each finding with its first files."""
    splits = [f"{split or 'no split'} {sum(numbers.values()):,}" for split, numbers in audit.counts.items()]
    classes = len(next(iter(audit.counts.values())))
    result = [f"{audit.name}: {classes} {'class' if classes == 1 else 'classes'}, readable images: {', '.join(splits)}"]
    result += [f"not looked at: {each}" for each in audit.unseen]
    for finding in audit.findings:
        result += ["", f"{finding.severity}: {finding.kind}", f"  {finding.sentence}", *_files(finding)]
    return [*result, "", count(len(audit.findings), "finding") + "." if audit.findings else "Nothing was found."]


def _files(finding: Finding) -> list[str]:
    shown = [f"    {each.path}  {each.note}".rstrip() for each in islice(finding.images, SHOWN)]
    left = len(finding.images) - len(shown)
    return [*shown, f"    and {count(left, 'more file')}, which --json lists"] if left else shown


def write_json(audit: Audit, file: Path) -> None:
    """Write the audit for programs.

    Raises:
        ConfigError: If the file cannot be written.
    """
    write(file, json.dumps(audit.to_json(), indent=1, ensure_ascii=False) + "\n", "--json")


def show(audit: Audit) -> None:
    """Print the audit."""
    for line in lines(audit):
        typer.echo(line)
