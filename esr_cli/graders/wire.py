"""Reads what the harness wrote: nothing in it is trusted, and nothing of it is run.

`Lines` walks over the output line by line; the first one that is not as agreed ends it. A value is
built from plain Python types alone; `Opaque` stands for what had no plain form, and equals nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MALFORMED = "malformed output"
HEX = re.compile(r"-?[0-9a-f]+")


class Opaque:
    """A result without a plain form, by the name of its type; equal to nothing but itself."""

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass(frozen=True)
class Digest:
    """A result too long to send, as a hash that equal values share; a tolerance cannot apply."""

    hexadecimal: str


@dataclass(frozen=True)
class Result:
    """What one call gave: its value, the name of the value's exact type, seconds by the harness."""

    value: Any
    kind: str
    elapsed_s: float


@dataclass(frozen=True)
class Failure:
    """Why there is no (further) result."""

    reason: str


def read(output: bytes, nonce: str, calls: int) -> Iterator[Result | Failure]:
    """The results in order of the calls; a Failure is the last; none when output just stops."""
    lines = output.split(b"\n")[:-1]
    if len(lines) > calls + 1:
        yield Failure(MALFORMED)
        return
    for index, line in enumerate(lines):
        try:
            found = _line(line, nonce, index)
        except (ValueError, TypeError, KeyError, RecursionError, MemoryError):
            found = Failure(MALFORMED)
        if found is not None:
            yield found
        if isinstance(found, Failure):
            return


def _line(line: bytes, nonce: str, call: int) -> Result | Failure | None:
    """The result of a call, counted from 1; line 0 tells of the load."""
    head, _, text = line.decode("ascii").partition(" ")
    if head != nonce:
        raise ValueError("not the harness's line")
    parts = json.loads(text)
    if parts == ["ready"] and not call:
        return None
    kind, *rest = parts
    if kind == ("raised" if call else "broken"):
        (reason,) = rest
        return Failure(_text(reason)[:100] + (f" on call {call}" if call else ""))
    if kind != "ok" or not call:
        raise ValueError("out of order")
    elapsed_s, name, value = rest
    return Result(decode(value), _text(name), float(elapsed_s))


def decode(node: Any) -> Any:
    """The value that `harness.Speller` spelled; ValueError or TypeError where it could not have."""
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if not isinstance(node, list) or not node:
        raise ValueError("neither a scalar nor a tagged list")
    tag, *items = node
    return DECODERS[_text(tag)](items)


def _text(node: Any) -> str:
    if not isinstance(node, str):
        raise ValueError("not a text")
    return node


def _one(items: list[Any]) -> str:
    (item,) = items
    return _text(item)


def _integer(items: list[Any]) -> int:
    digits = _one(items)
    if not HEX.fullmatch(digits):
        raise ValueError("not a hexadecimal number")
    return int(digits, 16)


def _complex(items: list[Any]) -> complex:
    real, imag = items
    if not (isinstance(real, float) and isinstance(imag, float)):
        raise ValueError("not two floats")
    return complex(real, imag)


def _mapping(items: list[Any]) -> dict[Any, Any]:
    values = [decode(item) for item in items]
    return dict(zip(values[::2], values[1::2], strict=True))


def _sequence(build: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    return lambda items: build([decode(item) for item in items])


DECODERS: Mapping[str, Callable[[list[Any]], Any]] = {
    "l": _sequence(list),
    "t": _sequence(tuple),
    "s": _sequence(set),
    "z": _sequence(frozenset),
    "d": _mapping,
    "i": _integer,
    "c": _complex,
    "b": lambda items: bytes.fromhex(_one(items)),
    "h": lambda items: Digest(_one(items)),
    "o": lambda items: Opaque(_one(items)),
}
