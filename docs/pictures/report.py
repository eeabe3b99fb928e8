"""The picture in the README: one question of the report on LeNet-5 and MNIST in the gallery, as a browser shows it.

The gallery keeps `report.md`; what it says of the question is put into the template of `report.html` again. Run as a
program, this takes the picture anew, for which it needs chromium. The picture carries the digest of what it was taken
of, so that `tests/test_docs_statistics.py` sees when the report is another.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from pathlib import Path

from paribus.report.page import Comment, Figure, Page, Section
from paribus.report.render import to_html

HERE = Path(__file__).parent
REPORT = HERE.parent / "gallery" / "lenet-mnist"
PICTURE = HERE / "report.png"
QUESTION = "batch-size"
WIDTH, BORDER = 1180, 24
FIGURES = 2


def page() -> Page:
    """Return the question as data, without its tables."""
    head, *parts = (REPORT / "report.md").read_text(encoding="utf-8").split("\n## ")
    (text,) = [part for part in parts if f"figures/{QUESTION}-seeds.svg" in part]
    nothing = Section("", "")
    return Page(
        title=head.partition("\n")[0].removeprefix("# "),
        name=REPORT.name,
        facts=(),
        summary=None,
        notices=(),
        fired=(),
        sections=(_section(text),),
        diagnosis=nothing,
        method=nothing,
        environment=(),
    )


def _section(text: str) -> Section:
    title, _, answer, evidence, *_ = text.split("\n\n")
    shown = re.findall(r"^!\[(.+)\]\(figures/(\S+)\.svg\)\n\n\*(.+)\*$", text, re.MULTILINE)
    figures = [
        Figure(name, (REPORT / "figures" / f"{name}.svg").read_text(encoding="utf-8"), alt, caption)
        for alt, name, caption in shown[:FIGURES]
    ]
    sentences = tuple(line.removeprefix("- ") for line in answer.splitlines())
    comment = Comment(sentences, evidence, "", "")
    return Section(f"question-{QUESTION}", title, figures=tuple(figures), label="Question", comment=comment)


def digest() -> str:
    """Return what identifies the part of the report that is shown, whatever it looks like."""
    return hashlib.sha256(repr(page()).encode()).hexdigest()


def take() -> None:
    """Take the picture."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": 1000})
        tab.set_content(to_html(page()))
        shown = tab.evaluate(f"document.getElementById('question-{QUESTION}').getBoundingClientRect().toJSON()")
        height = shown["height"] + BORDER
        shot = tab.screenshot(full_page=True, clip={"x": 0, "y": shown["top"] + 1, "width": WIDTH, "height": height})
        browser.close()
    image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(128)
    told = PngInfo()
    told.add_text("digest", digest())
    image.save(PICTURE, optimize=True, pnginfo=told)


if __name__ == "__main__":
    take()
