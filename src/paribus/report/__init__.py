"""The report of a result folder: one HTML file, and Markdown with figures beside it.

`material` is read from the folder; `build` makes the `page` of it, with one section per question (`questions`) and one
on the best arm (`diagnosis`); `figures` are drawn on a `canvas`; `render` writes the files.
"""

from __future__ import annotations

from paribus.report.render import write_report

__all__ = ["write_report"]
