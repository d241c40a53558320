"""What keeps a question out of training: it stands there twice, or in a benchmark, or is long."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from unicodedata import is_normalized

from esr_cli.tasks.chat import Chat
from esr_cli.types import Question

WORD = re.compile(r"\w+")
# Where the rows of benchmarks hold what they ask.
ASKED = ("problem", "question", "prompt", "instruction", "messages")
CHUNK = 1024


class Duplicates:
    """Knows what was asked before: the same turns and functions, blanks aside."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def met(self, question: Question) -> bool:
        """Whether it was asked before; from now on it was."""
        turns = [[turn["role"], *turn["content"].split()] for turn in question.messages]
        text = json.dumps([turns, question.tools], sort_keys=True, default=str)
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        known = key in self._seen
        self._seen.add(key)
        return known


class Overlap:
    """Knows the questions of benchmarks by their runs of `ngram` words.

    Words are compared in lower case, without what stands between them. A question of fewer words
    is known as a whole only.
    """

    def __init__(self, ngram: int) -> None:
        self.ngram = ngram
        self._known: dict[tuple[str, ...], str] = {}

    @property
    def knows_any(self) -> bool:
        """Whether there is anything to compare with."""
        return bool(self._known)

    def learn(self, name: str, text: str) -> None:
        """Remembers a question of the benchmark `name`."""
        for run in self._runs(text):
            self._known.setdefault(run, name)

    def find(self, text: str) -> str | None:
        """The benchmark that shares a run of words with `text`."""
        return next((self._known[run] for run in self._runs(text) if run in self._known), None)

    def _runs(self, text: str) -> Iterator[tuple[str, ...]]:
        words = WORD.findall(text.lower())
        if len(words) < self.ngram:
            # A text of symbols only would otherwise equal every other.
            return iter([tuple(words)] if words else [])
        return zip(*(words[start:] for start in range(self.ngram)), strict=False)


def text_of(question: Question) -> str:
    """What the user says in a question."""
    return "\n".join(turn["content"] for turn in question.messages if turn["role"] == "user")


def text_asked(row: dict[str, Any]) -> str:
    """What a benchmark's row asks, whichever benchmark it is from."""
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
    """The ids of those whose prompt has more than `limit` tokens for one of the models."""
    return {
        name
        for chat in chats
        for start in range(0, len(questions), CHUNK)
        for name in _too_long(questions[start : start + CHUNK], chat, limit, wording_in_text)
    }


def _too_long(
    questions: list[Question], chat: Chat, limit: int, wording_in_text: str
) -> Iterator[str]:
    doubtful: dict[str, str] = {}
    for question in questions:
        text = chat.text(question, wording_in_text)
        # A token spans at least a byte, so most texts need no tokenizer, unless one spells them out
        # (NFC, NFKC) beforehand. The 16 are for tokens that it adds by itself.
        if len(text.encode()) + 16 > limit or not is_normalized("NFKC", text):
            doubtful[question.id] = text
    encoded = chat.ids(list(doubtful.values()))
    return (name for name, ids in zip(doubtful, encoded, strict=True) if len(ids) > limit)
