"""The report of a result folder: one HTML file, and Markdown with figures beside it."""

from __future__ import annotations

from paribus.report.render import write_report

__all__ = ["write_report"]
