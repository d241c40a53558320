"""Parses the untrusted output of the harness without executing any of it.

`read` parses the output line by line and stops at the first malformed line. Values are built from
plain Python types only. `Opaque` represents an object without a plain form and equals nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

MALFORMED = "malformed output"
# Honest values rarely collide: -1 and -2 do, and numbers 2**61 - 1 apart.
MOST_COLLISIONS = 100
MOST_DIGITS = 4000
HEX = re.compile(r"-?[0-9a-f]+")


class Opaque:
    """A result without a plain form, with the name of its type; equal only to itself."""

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass(frozen=True)
class Digest:
    """The hash of a result too long to send; equal values share it, without any tolerance."""

    hexadecimal: str


@dataclass(frozen=True)
class Result:
    """The result of one call: value, exact type name, and the CPU seconds by the harness."""

    value: Any
    kind: str
    cpu_s: float


@dataclass(frozen=True)
class Failure:
    """The reason why there is no (further) result."""

    reason: str


def read(output: bytes, nonce: str, calls: int) -> Iterator[Result | Failure]:
    """Yields results in call order; a Failure ends them. Truncated output has no Failure."""
    lines = output.split(b"\n")[:-1]
    if len(lines) > calls + 1:
        yield Failure(MALFORMED)
        return
    for index, line in enumerate(lines):
        try:
            result = _line(line, nonce, index)
        except Exception:  # a hostile line can raise anything: too large, too deep, unhashable
            result = Failure(MALFORMED)
        if result is not None:
            yield result
        if isinstance(result, Failure):
            return


def _line(line: bytes, nonce: str, call: int) -> Result | Failure | None:
    """Parses the result of a call, counted from 1; line 0 reports the load."""
    head, _, text = line.decode("ascii").partition(" ")
    if head != nonce:
        raise ValueError("not the harness's line")
    parts = json.loads(text)
    if parts == ["ready"] and not call:
        return None
    kind, *rest = parts
    if kind == ("raised" if call else "broken"):
        (reason,) = rest
        return Failure(_string(reason)[:100] + (f" on call {call}" if call else ""))
    if kind != "ok" or not call:
        raise ValueError("out of order")
    cpu_s, name, value = rest
    return Result(decode(value), _string(name), float(cpu_s))


def decode(node: Any) -> Any:
    """Decodes a value written by `spelling.Speller`; raises ValueError or TypeError otherwise."""
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if not isinstance(node, list) or not node:
        raise ValueError("neither a scalar nor a tagged list")
    tag, *items = node
    return DECODERS[_string(tag)](items)


def _string(node: Any) -> str:
    if not isinstance(node, str):
        raise ValueError("not a string")
    return node


def _single_string(items: list[Any]) -> str:
    (item,) = items
    return _string(item)


def _integer(items: list[Any]) -> int:
    return _from_hex(_single_string(items))


def _from_hex(digits: str) -> int:
    if not HEX.fullmatch(digits):
        raise ValueError("not a hexadecimal number")
    return int(digits, 16)


def _fraction(items: list[Any]) -> Fraction:
    top, bottom = map(_short, items)
    if bottom.strip("-0") == "":
        raise ValueError("divided by zero")
    return Fraction(_from_hex(top), _from_hex(bottom))


def _decimal(items: list[Any]) -> Decimal:
    (text,) = map(_short, items)
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError("no decimal number") from None


def _short(node: Any) -> str:
    """A string of few digits: reducing a fraction takes quadratic time."""
    if len(_string(node)) > MOST_DIGITS:
        raise ValueError("too many digits")
    return str(node)


def _complex(items: list[Any]) -> complex:
    real, imag = items
    if not (isinstance(real, float) and isinstance(imag, float)):
        raise ValueError("not two floats")
    return complex(real, imag)


def _mapping(items: list[Any]) -> dict[Any, Any]:
    values = [decode(item) for item in items]
    need_spread(values[::2])
    return dict(zip(values[::2], values[1::2], strict=True))


def need_spread(values: Collection[Any]) -> None:
    """Raises ValueError if many hashes collide: a set of such values takes quadratic time.

    The hash of a number is known in advance, so a program can choose numbers that share one.
    """
    if len(values) - len(set(map(hash, values))) > MOST_COLLISIONS:
        raise ValueError("colliding values")


def _set_of(build: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    def checked(items: list[Any]) -> Any:
        need_spread(items)
        return build(items)

    return _sequence(checked)


def _sequence(build: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    return lambda items: build([decode(item) for item in items])


DECODERS: Mapping[str, Callable[[list[Any]], Any]] = {
    "l": _sequence(list),
    "t": _sequence(tuple),
    "s": _set_of(set),
    "z": _set_of(frozenset),
    "d": _mapping,
    "i": _integer,
    "c": _complex,
    "f": _fraction,
    "D": _decimal,
    "b": lambda items: bytes.fromhex(_single_string(items)),
    "h": lambda items: Digest(_single_string(items)),
    "o": lambda items: Opaque(_single_string(items)),
}
