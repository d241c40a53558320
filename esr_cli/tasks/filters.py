"""Filters for training questions: duplicates, overlap with benchmarks, and length."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from unicodedata import is_normalized

from esr_cli.tasks.chat import Chat, Rendered
from esr_cli.types import Question

WORD = re.compile(r"\w+")
# The fields that hold the question in benchmark rows.
ASKED = ("problem", "question", "prompt", "instruction", "messages")
CHUNK = 1024


class Duplicates:
    """Detects repeated questions: the same turns and functions, ignoring whitespace."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def met(self, question: Question) -> bool:
        """Records the question; returns whether it was recorded before."""
        turns = [{**turn, "content": turn["content"].split()} for turn in question.messages]
        text = json.dumps([turns, question.tools], sort_keys=True, default=str)
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        known = key in self._seen
        self._seen.add(key)
        return known


class Overlap:
    """Detects overlap with benchmark questions by n-grams of `ngram` words.

    Words are compared in lower case, without the characters between them. A question with fewer
    words only matches as a whole.
    """

    def __init__(self, ngram: int) -> None:
        self.ngram = ngram
        self._known: dict[tuple[str, ...], str] = {}

    @property
    def knows_any(self) -> bool:
        """Whether any benchmark question is recorded."""
        return bool(self._known)

    def learn(self, name: str, text: str) -> None:
        """Records a question of the benchmark `name`."""
        for run in self._ngrams(text):
            self._known.setdefault(run, name)

    def find(self, text: str) -> str | None:
        """Returns the benchmark that shares an n-gram with `text`, or None."""
        return next((self._known[run] for run in self._ngrams(text) if run in self._known), None)

    def _ngrams(self, text: str) -> Iterator[tuple[str, ...]]:
        words = WORD.findall(text.lower())
        if len(words) < self.ngram:
            # Otherwise all texts without words would match each other.
            return iter([tuple(words)] if words else [])
        return zip(*(words[start:] for start in range(self.ngram)), strict=False)


def text_of(question: Question) -> str:
    """Returns the text of the user's turns."""
    return "\n".join(turn["content"] for turn in question.messages if turn["role"] == "user")


def text_asked(row: dict[str, Any]) -> str:
    """Returns the question text of a row of any benchmark."""
    field = next((name for name in ASKED if row.get(name)), None)
    return "\n".join(_texts(row[field])) if field else ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts(value.get("content"))
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)


def too_long(
    questions: list[Question], chats: Iterable[Chat], limit: int, wording_in_text: str
) -> set[str]:
    """Returns the ids of questions with more than `limit` prompt tokens for any of the models."""
    return {
        name
        for chat in chats
        for start in range(0, len(questions), CHUNK)
        for name in _too_long(questions[start : start + CHUNK], chat, limit, wording_in_text)
    }


def _too_long(
    questions: list[Question], chat: Chat, limit: int, wording_in_text: str
) -> Iterator[str]:
    candidates: dict[str, Rendered] = {}
    room = limit - len(chat.before_ids)
    for question in questions:
        prompt = chat.rendered(question, wording_in_text)
        # A token spans at least one byte, so most texts need no tokenizer, unless Unicode
        # normalization (NFC, NFKC) expands them. The 16 are for added special tokens.
        if len(prompt.text.encode()) + 16 > room or not is_normalized("NFKC", prompt.text):
            candidates[question.id] = prompt
    encoded = chat.ids(list(candidates.values()))
    return (name for name, ids in zip(candidates, encoded, strict=True) if len(ids) > room)
