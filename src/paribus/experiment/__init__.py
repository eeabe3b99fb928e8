"""Experiments: one control, its arms, the questions asked, seeds and margin; in TOML, and as runs to be trained."""

from __future__ import annotations

from paribus.experiment.design import (
    CONTROL,
    CONTROL_RETUNED,
    METRICS,
    Arm,
    Experiment,
    Found,
    Metric,
    Question,
)
from paribus.experiment.run import RunSpec

__all__ = [
    "CONTROL",
    "CONTROL_RETUNED",
    "METRICS",
    "Arm",
    "Experiment",
    "Found",
    "Metric",
    "Question",
    "RunSpec",
]
