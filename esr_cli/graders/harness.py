"""The program that runs inside the sandbox: calls a candidate's function, writes what it returns.

It is handed over as source text, imports only the standard library, and knows inputs but never an
expected output. Input: one marshalled tuple on standard input, see `main`. Output: a line for the
load and one for each call, `nonce` and a JSON list: `["ready"]`, `["broken", why]`, `["ok",
seconds, type name, value]`, `["raised", exception]`; nothing follows a call that raised. A value
is spelled by its exact type (`spell`), so that what the parent compares is plain data without any
method of the candidate's. A candidate can write all of this itself, and gains nothing: it would
have to know the right outputs.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
import time
from _blake2 import blake2b
from _json import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

DEPTH = 100
SMALL_INT_BITS = 50
LONG = 1 << 16
TAGS = {list: "l", tuple: "t", set: "s", frozenset: "z"}
SCALARS: tuple[type, ...] = (bool, int, float, complex, str, bytes, type(None))
PLAIN: tuple[type, ...] = (*SCALARS, *TAGS, dict)
NORMAL = {int, str, bytes, type(None)}
CONTAINERS = {*TAGS, dict}


class TimedOut(BaseException):
    """Not an Exception, so that a candidate's `except Exception` does not swallow it."""


class TooLarge(Exception):
    """The results together are larger than the parent is willing to read."""


class NoForm(Exception):
    """Something without a plain form, or NaN, lies within: such a value equals nothing."""


def base_of(value: Any) -> Any:
    """The plain type that the value's type is or descends from; None for any other."""
    return next((base for base in type(value).__mro__ if base in PLAIN), None)


def is_numpy_scalar(value: Any) -> bool:
    """Whether numpy can turn it into a plain number."""
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()


class Speller:
    """Values as JSON text, `room` characters in all."""

    def __init__(self, room: int) -> None:
        self.room = room

    def take(self, count: int) -> None:
        """Uses up room before the text is made, so that a huge value costs nothing."""
        self.room -= count + 1
        if self.room < 0:
            raise TooLarge

    def spell(self, value: Any, depth: int = 0) -> str:
        """The value's text: containers as `[tag, ...]`, what has no plain form as its type's name.

        Subclasses count as their base, read by the base's own methods; numpy scalars as Python's.
        """
        base = base_of(value)
        if depth > DEPTH:
            return self.opaque("too deep")
        if base is None:
            if is_numpy_scalar(value):
                return self.spell(value.item(), depth + 1)
            return self.opaque(type(value).__name__)
        if base in SCALARS:
            return self.scalar(base, value)
        if base is dict:
            items = [part for pair in dict.items(value) for part in pair]
            return self.container("d", items, depth)
        return self.container(TAGS[base], base.__iter__(value), depth)

    def container(self, tag: str, items: Any, depth: int) -> str:
        """A list of the items' texts behind the tag."""
        self.take(4)
        return f'["{tag}"' + "".join([f",{self.spell(item, depth + 1)}" for item in items]) + "]"

    def scalar(self, base: type, value: Any) -> str:
        """None, booleans, small integers, floats and strings as in JSON; the rest tagged."""
        if base is int:
            return self.integer(int.__int__(value))
        if base is str:
            self.take(str.__len__(value))
            return quote(str.__str__(value))
        if base is bytes:
            self.take(2 * bytes.__len__(value))
            return f'["b","{bytes.hex(value)}"]'
        self.take(24)
        if base is float:
            return self.real(float.__float__(value))
        if base is complex:
            parts = complex.__add__(value, 0j)
            return f'["c",{self.real(parts.real)},{self.real(parts.imag)}]'
        return {None: "null", True: "true", False: "false"}[value]

    def integer(self, value: int) -> str:
        """Hexadecimal above 50 bits: decimal digits cost quadratic time, and Python caps them."""
        bits = value.bit_length()
        self.take(bits // 4)
        return str(value) if bits <= SMALL_INT_BITS else f'["i","{value:x}"]'

    def real(self, value: float) -> str:
        """The shortest decimal that reads back as the same float, in JSON's extended spelling."""
        names = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
        return names.get(repr(value), repr(value))

    def opaque(self, name: str) -> str:
        """What has no plain form."""
        self.take(len(name))
        return f'["o",{quote(str(name)[:60])}]'


def digest(value: Any, depth: int = 0) -> bytes:
    """A hash that two values share when they are equal: 1 is 1.0 is True, a set has no order."""
    if depth > DEPTH:
        raise NoForm
    value = normal(value)
    kind = type(value)
    if kind in (list, tuple):
        flat = set(map(type, value)) <= NORMAL
        items = value if flat else kind(map(normal, value))
        if flat or CONTAINERS.isdisjoint(map(type, items)):
            return hashed(kind, (marshal.dumps(items, 2),))
        return hashed(kind, (digest(item, depth + 1) for item in items))
    if kind is set:
        return hashed(kind, sorted(digest(item, depth + 1) for item in value))
    if kind is dict:
        pairs = dict.items(value)
        return hashed(kind, sorted(digest(k, depth + 1) + digest(v, depth + 1) for k, v in pairs))
    return hashed(kind, (marshal.dumps(value, 2),))


def hashed(kind: type, parts: Any) -> bytes:
    """The hash of a value's type and parts."""
    found = blake2b(kind.__name__.encode(), digest_size=20)
    for part in parts:
        found.update(part)
    return found.digest()


def normal(value: Any) -> Any:
    """One form for equal scalars; containers as the plain type they descend from."""
    kind = type(value)
    if kind in NORMAL:
        return value
    if kind is float:
        return normal_float(value)
    base = base_of(value)
    if base is None:
        if not is_numpy_scalar(value):
            raise NoForm
        return normal(value.item())
    if base in (bool, int):
        return int.__int__(value)
    if base is str:
        return str.__str__(value)
    if base is float:
        return normal_float(float.__float__(value))
    if base is complex:
        whole = complex.__add__(value, 0j)
        return whole if whole.imag else normal_float(whole.real)
    if base is dict:
        return dict(dict.items(value))
    plain = set if base is frozenset else base
    return value if kind is plain else plain(base.__iter__(value))


def normal_float(value: float) -> Any:
    """A whole number as an integer."""
    if value.is_integer():
        return int(value)
    if value != value:
        raise NoForm
    return value


def written(result: Any, room: int, form: str) -> str:
    """The result's text, within `room` characters.

    `form` says whether a hash will do: `full` never, `hash` always, `any` where the text is long
    and no tolerance may apply. Some canonical results have a hundred million characters.
    """
    if form != "hash":
        floats = type(result) in (list, tuple) and set(map(type, result)) == {float}
        short = form == "any" and not floats
        try:
            return Speller(min(room, LONG) if short else room).spell(result)
        except TooLarge:
            if not short:
                raise
    try:
        return f'["h","{digest(result).hex()}"]'
    except NoForm:
        return '["o","no plain form"]'


def alarm(signum: int, frame: Any) -> None:
    """The call's time is up."""
    raise TimedOut


def limited(seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls the function with a limit on the time it takes."""
    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def compiled(programs: list[str]) -> Any:
    """The first of the programs that compiles; the first one's error when none does."""
    first: BaseException | None = None
    for program in programs:
        try:
            return compile(program, "<response>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
            first = first or error
    raise first or SyntaxError("no code")


def load(programs: list[str], entry_point: str) -> Any:
    """The function that the first sound program defines, in a module of its own."""
    module = sys.modules["candidate"] = type(sys)("candidate")
    exec(compiled(programs), module.__dict__)
    return module.__dict__[entry_point]


def said(error: BaseException, entry_point: str) -> str:
    """An exception in a few words."""
    if type(error) is KeyError and error.args == (entry_point,):
        return f"does not define {entry_point}"
    if type(error) in (SyntaxError, IndentationError, TabError):
        return f"SyntaxError: {str(error.args[0])[:80]}"
    known = {TimedOut: "timed out", MemoryError: "out of memory", SystemExit: "exits"}
    known[TooLarge] = "too much output"
    return known.get(type(error)) or type(error).__name__[:60]


def attempt(function: Any, given: bytes, form: str, room: int, listed: bool) -> tuple[str, str]:
    """Calls the function on arguments of its own; its result's text, and its type's name."""
    result = function(*marshal.loads(given))
    if listed and not isinstance(result, PLAIN):
        # The set oracles take any iterable; only its elements can be written down.
        result = list(result)
    name = f"{type(result).__module__}.{type(result).__qualname__}"[:100]
    return written(result, room, form), quote(name)


def main() -> None:
    """Reads the job: programs, entry point, load limit, nonce, room, listed, calls.

    A call is its marshalled arguments, its limit in seconds, the form of its result (`written`).
    """
    job = marshal.loads(sys.stdin.buffer.read())
    programs, entry_point, load_s, nonce, room, listed, calls = job
    channel = os.dup(1)
    for descriptor in (0, 1):
        os.dup2(2, descriptor)

    def tell(text: str) -> None:
        os.write(channel, f"{nonce} {text}\n".encode("ascii"))

    try:
        function = limited(load_s, load, programs, entry_point)
    except BaseException as error:  # whatever the candidate raises, exits included
        tell(f'["broken",{quote(said(error, entry_point))}]')
        os._exit(0)
    tell('["ready"]')
    for given, limit_s, form in calls:
        start = time.perf_counter()
        try:
            text, name = limited(limit_s, attempt, function, given, form, room, listed)
        except BaseException as error:
            tell(f'["raised",{quote(said(error, ""))}]')
            os._exit(0)
        room -= len(text)
        tell(f'["ok",{time.perf_counter() - start:.6f},{name},{text}]')
    os._exit(0)


if __name__ == "__main__":
    main()
