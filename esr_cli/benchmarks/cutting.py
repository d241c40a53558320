"""Where a response ends that is cut before a stop text.

Engines generate to their limit, so both engines give the same text; the rest is dropped here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from esr_cli.models.spelling import decoded


def cut(text: str, stop_texts: Sequence[str]) -> str:
    """Returns the text before the first occurrence of any of the stop texts."""
    places = [place for each in stop_texts if (place := text.find(each)) >= 0]
    return text[: min(places, default=len(text))]


def tokens_needed(tokenizer: Any, ids: Sequence[int], stop_texts: Sequence[str]) -> int:
    """Returns how many of the tokens an engine would have generated that stops at a stop text.

    The token that completes the text counts; all tokens count if there is no such text.
    """

    def stopped(count: int) -> bool:
        text = decoded(tokenizer, ids[:count])
        return any(each in text for each in stop_texts)

    return min(len(ids), bisect_left(range(len(ids) + 1), True, key=stopped))
