"""What the type hints of settings say."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args


def by_name(hint: Any) -> Any:
    """The dataclass of a mapping by name (`dict[str, BenchmarkConfig]`); none for other hints."""
    inner = (get_args(hint) or (None,))[-1]
    return inner if dataclasses.is_dataclass(inner) else None
