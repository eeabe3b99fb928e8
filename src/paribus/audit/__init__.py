"""What is wrong with a data set of image files, found before anything is trained on it.

`files` looks at every file once; `duplicates`, `grouping`, `labels` and `composition` each look for one kind of fault
in what it kept; `examine` runs them all, and `page` writes the HTML.
"""

from __future__ import annotations

from paribus.audit.examine import Options, examine, find_files
from paribus.audit.findings import Audit, Exhibit, Finding
from paribus.audit.page import to_html

__all__ = ["Audit", "Exhibit", "Finding", "Options", "examine", "find_files", "to_html"]
