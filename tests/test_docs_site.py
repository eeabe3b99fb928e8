"""The site is built without a warning, its links lead somewhere, and no page loads anything from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import paribus
from test_surface import commands_in, faults_of

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
RESULT_PAGES = {"report.md"}  # What a run wrote is not ours to change.


class Links(HTMLParser):
    """The places of a page that can be linked to, what it links to, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value for key, value in attrs if value is not None}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in ("img", "script", "iframe", "source", "video") and "src" in given:
            self.loads.append(given["src"])
        elif tag == "link" and "href" in given and given.get("rel") != "canonical":
            self.loads.append(given["href"])


def read(page: str) -> Links:
    found = Links()
    found.feed(page)
    return found


def faults(site: Path) -> list[str]:
    """Every link that leads nowhere and everything that is loaded from elsewhere, by page."""
    pages = {path: read(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    assert pages
    found = []
    for path, page in pages.items():
        where = path.relative_to(site).as_posix()
        found += [f"{where} loads {url}" for url in page.loads if is_elsewhere(url)]
        found += [
            f"{where} links to {url}"
            for url in (*page.links, *page.loads)
            if not is_elsewhere(url) and not leads_somewhere(url, path, site, pages)
        ]
    return found


def is_elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.netloc) or parts.scheme in ("http", "https")


def leads_somewhere(url: str, path: Path, site: Path, pages: Mapping[Path, Links]) -> bool:
    parts = urlsplit(url)
    if parts.scheme:  # mailto:, data:
        return True
    if parts.path.startswith("/"):  # The page for what is not found may lie anywhere.
        target = site / unquote(parts.path).lstrip("/")
    else:
        target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return False
    return not parts.fragment or target not in pages or unquote(parts.fragment) in pages[target].anchors


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert faults(site) == []


def test_no_style_loads_anything_from_elsewhere(site: Path) -> None:
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert len(styles) > 2
    assert [
        match for style in styles for match in re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//\S{20}", style)
    ] == []


def test_every_page_of_docs_is_in_the_site_and_can_be_searched(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    for path in PAGES:
        where = path.relative_to(ROOT / "docs").with_suffix(".html")
        where = where.with_name("index.html") if path.name == "README.md" else where
        assert (site / where).is_file(), path
        assert f'"{where.as_posix()}' in index, path


def test_every_public_name_has_its_reference(site: Path) -> None:
    anchors = read((site / "api.html").read_text(encoding="utf-8")).anchors
    names = {f"paribus.{name}" for name in paribus.__all__ if name != "__version__"}
    assert names - anchors == set()
    suites = {f"paribus.testing.{path.stem}" for path in (ROOT / "src/paribus/testing").glob("[a-z]*.py")}
    assert suites - anchors == set()


def test_the_checks_have_teeth(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "index.html").write_text('<h1 id="top">B</h1><a href="../a.html#there">a</a>', "utf-8")
    (tmp_path / "a.html").write_text(
        '<a href="b/#top">1</a><a href="b/#bottom">2</a><a href="c.html">3</a><a href="https://a.org/x">4</a>'
        '<img src="https://a.org/x.png"><script src="//a.org/x.js"></script><link rel="stylesheet" href="x.css">',
        "utf-8",
    )
    assert faults(tmp_path) == [
        "a.html loads https://a.org/x.png",
        "a.html loads //a.org/x.js",
        "a.html links to b/#bottom",
        "a.html links to c.html",
        "a.html links to x.css",
        "b/index.html links to ../a.html#there",
    ]


@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if path.name not in RESULT_PAGES],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_the_commands_of_a_page_exist(path: Path) -> None:
    assert [fault for line in commands_in(path.read_text(encoding="utf-8")) for fault in faults_of(line)] == []


def test_links_between_files_of_the_repository_exist() -> None:
    """As the repository's own page shows them: relative to the file, folders too."""
    missing = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in (*PAGES, *ROOT.glob("*.md"), *(ROOT / "benchmarks").rglob("*.md"))
        for target in re.findall(r"(?<!`)\]\(([^)\s#]+)[^)]*\)", without_code(path.read_text(encoding="utf-8")))
        if not is_elsewhere(target) and not (path.parent / target).exists()
    ]
    assert missing == []


def without_code(page: str) -> str:
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", page, flags=re.MULTILINE | re.DOTALL)
