"""What mkdocs is told beyond mkdocs.yml: pages that lie outside docs/, links to them, folders in the navigation.

Pages are also read where the repository is shown, so links are written for that: relative, out of docs/ where need be,
and to folders. Here they become links of the site.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
FIRST = "README.md"
OUTSIDE = (
    "*.md",
    "benchmarks/**/*.md",
    "benchmarks/**/figures/*",
    "examples/**/*.py",
    "examples/**/*.toml",
    "examples/**/*.md",
    "notebooks/*.ipynb",
    "notebooks/*.md",
)
"""Files of the repository that the site shows beside docs/."""
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let a navigation entry that ends in a slash stand for the pages of that folder, its README first."""
    config.nav = [page for entry in config.nav or () for page in _expanded(entry)]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside docs/; the README is the first page."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            where = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, _on_site(where), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between files of the site.

    A page that stands alone has no list of its neighbours either.
    """
    if page.parent is None:
        page.meta.setdefault("hide", ["navigation"])
    here = page.file.src_uri
    folder = PurePosixPath(_in_repository(here, files)).parent

    def linked(match: re.Match[str]) -> str:
        target = os.path.normpath(folder / match[2])
        if "://" in match[2] or not (ROOT / target).exists():
            return match[0]  # mkdocs says what is wrong with it.
        if (ROOT / target).is_dir():
            target = f"{target}/{FIRST}"
        link = os.path.relpath(_on_site(target), PurePosixPath(here).parent)
        return f"{match[1]}{link}{match[3]}"

    return _LINK.sub(linked, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Give the theme's search the name that a screen reader asks for."""
    was = 'data-md-component="search" role="dialog"'
    return output.replace(was, f'{was} aria-label="Search"')


def _on_site(where: str) -> str:
    """A file of the repository as the site calls it."""
    return "index.md" if where == FIRST else where.removeprefix("docs/")


def _in_repository(where: str, files: Files) -> str:
    """A file of the site as the repository calls it."""
    found = files.get_file_from_path(where)
    assert found is not None and found.abs_src_path is not None
    return Path(found.abs_src_path).relative_to(ROOT).as_posix()


def _expanded(entry: Any) -> list[Any]:
    """A navigation entry, or what a folder stands for."""
    if isinstance(entry, dict):
        ((title, inside),) = entry.items()
        if isinstance(inside, list):
            return [{title: [page for each in inside for page in _expanded(each)]}]
        return [{title: _expanded(inside)}] if inside.endswith("/") else [entry]
    if not entry.endswith("/"):
        return [entry]
    folder = ROOT / "docs" / entry
    pages = sorted(folder.glob("*.md"), key=lambda path: (path.name != FIRST, path.name))
    pages += sorted(folder.glob("*/report.md"))
    return [path.relative_to(ROOT / "docs").as_posix() for path in pages]
