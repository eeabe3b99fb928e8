"""The whole assignment: its experiments run or continued, and one document that answers each of its requests.

`requests` says what is asked and which question of which experiment answers it; `stored` holds their results, `answers`
and `build` make the `page` of them, `write` writes it; `conduct` runs what is missing, `quick` in minutes.
"""

from __future__ import annotations

from paribus.assignment.conduct import Options, run

__all__ = ["Options", "run"]
