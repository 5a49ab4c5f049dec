"""Shipped helpers for tests: conformance suites and known degradations of a clip.

    check_model         does a model honour the contract of `evalkit.models.VideoModel`?

Names are resolved on first use, so that importing one helper does not import what another needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.testing.models import ModelReport, check_model, sample_requests

_HOMES = {"ModelReport": "models", "check_model": "models", "sample_requests": "models"}

__all__ = ["ModelReport", "check_model", "sample_requests"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
