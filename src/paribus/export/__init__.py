"""Trained models in other people's formats, each with a certificate that it says what the model says."""

from __future__ import annotations

from paribus.export.certificate import Certificate
from paribus.export.write import FORMATS, Exported, export

__all__ = ["FORMATS", "Certificate", "Exported", "export"]
