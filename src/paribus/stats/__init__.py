"""Is a difference real: over other seeds on these test images, and on new images of the same source; intervals.

Arrays hold one metric of two arms, `(n,)` one figure per seed or `(n, m)` one figure per seed and test example, and a
difference is always arm minus control. Two questions are kept apart. `paired_by_seed` asks whether other seeds would
agree on these test images; `crossed` asks whether the difference would hold on new images, and decides verdicts. What
is promised of them is measured by simulation with known truth, in benchmarks/statistics.
"""

from __future__ import annotations

from paribus.stats.by_seed import SeedComparison, paired_by_seed
from paribus.stats.crossed import (
    CrossedComparison,
    StandardError,
    Variances,
    crossed,
    equivalence,
    unseen_share,
)
from paribus.stats.intervals import LEVEL, Interval, t_interval, wilson
from paribus.stats.multiple import holm
from paribus.stats.needed import (
    MOST_IMAGES,
    MOST_SEEDS,
    POWER,
    Needed,
    power_to_find,
    seeds_needed,
    smallest_difference,
)

__all__ = [
    "LEVEL",
    "MOST_IMAGES",
    "MOST_SEEDS",
    "POWER",
    "CrossedComparison",
    "Interval",
    "Needed",
    "SeedComparison",
    "StandardError",
    "Variances",
    "crossed",
    "equivalence",
    "holm",
    "paired_by_seed",
    "power_to_find",
    "seeds_needed",
    "smallest_difference",
    "t_interval",
    "unseen_share",
    "wilson",
]
