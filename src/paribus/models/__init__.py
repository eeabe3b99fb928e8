"""Networks: one family per file, and the user's own classes. Loads no torch until a network is built."""

from __future__ import annotations

from paribus.models.build import MODELS, BuiltInModel, build_model
from paribus.models.user import model_code_digest

__all__ = ["MODELS", "BuiltInModel", "build_model", "model_code_digest"]
