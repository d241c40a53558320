"""Helpers for the type hints of settings."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args


def by_name(hint: Any) -> Any:
    """The dataclass of the values of a `dict[str, BenchmarkConfig]`; None for other hints."""
    inner = (get_args(hint) or (None,))[-1]
    return inner if dataclasses.is_dataclass(inner) else None
