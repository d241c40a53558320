"""The program that runs inside the sandbox: calls a candidate's function and writes its results.

It is passed as source text, imports only the standard library, and never holds expected outputs.
Input: one marshalled tuple on standard input, see `main`. Output: a line for the load and for each
call, with `nonce` and a JSON list: `["ready"]`, `["broken", reason]`, `["ok", seconds, type name,
value]` or, last, `["raised", exception]`. A value is serialized by its exact type (`spell`): the
parent compares plain data without any method of the candidate. A candidate can forge this output
but does not know the correct results.
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
    """A BaseException, so that a candidate's `except Exception` does not catch it."""


class TooLarge(Exception):
    """The results exceed the total size that the parent reads."""


class NoForm(Exception):
    """The value contains NaN or an object without a plain form, so it equals nothing."""


def base_of(value: Any) -> Any:
    """Returns the plain type that the value's type is or inherits from, else None."""
    return next((base for base in type(value).__mro__ if base in PLAIN), None)


def is_numpy_scalar(value: Any) -> bool:
    """Returns whether the value is a numpy scalar, which converts to a plain number."""
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()


class Speller:
    """Serializes values as JSON, up to `room` characters in total."""

    def __init__(self, room: int) -> None:
        self.room = room

    def take(self, count: int) -> None:
        """Reserves room before the text is built, so that a huge value is refused cheaply."""
        self.room -= count + 1
        if self.room < 0:
            raise TooLarge

    def spell(self, value: Any, depth: int = 0) -> str:
        """Returns the value as JSON: containers as `[tag, ...]`, opaque objects as their type name.

        Subclasses are read as their base type, by its own methods; numpy scalars as Python scalars.
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
        """Returns the tag followed by the serialized items."""
        self.take(4)
        return f'["{tag}"' + "".join([f",{self.spell(item, depth + 1)}" for item in items]) + "]"

    def scalar(self, base: type, value: Any) -> str:
        """Writes None, booleans, small integers, floats and strings as JSON, the rest tagged."""
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
        """Writes hexadecimal above 50 bits: decimal takes quadratic time, and Python limits it."""
        bits = value.bit_length()
        self.take(bits // 4)
        return str(value) if bits <= SMALL_INT_BITS else f'["i","{value:x}"]'

    def real(self, value: float) -> str:
        """Returns the shortest decimal that reads back as the same float, in extended JSON."""
        names = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
        return names.get(repr(value), repr(value))

    def opaque(self, name: str) -> str:
        """Writes the type name of an object without a plain form."""
        self.take(len(name))
        return f'["o",{quote(str(name)[:60])}]'


def digest(value: Any, depth: int = 0) -> bytes:
    """Returns a hash that equal values share: 1 == 1.0 == True, and a set has no order."""
    if depth > DEPTH:
        raise NoForm
    value = normal(value)
    kind = type(value)
    if kind in (list, tuple):
        flat = set(map(type, value)) <= NORMAL
        items = value if flat else kind(map(normal, value))
        if flat or CONTAINERS.isdisjoint(map(type, items)):
            return hash_of(kind, (marshal.dumps(items, 2),))
        return hash_of(kind, (digest(item, depth + 1) for item in items))
    if kind is set:
        return hash_of(kind, sorted(digest(item, depth + 1) for item in value))
    if kind is dict:
        pairs = dict.items(value)
        return hash_of(kind, sorted(digest(k, depth + 1) + digest(v, depth + 1) for k, v in pairs))
    return hash_of(kind, (marshal.dumps(value, 2),))


def hash_of(kind: type, parts: Any) -> bytes:
    """Returns the hash of a value's type and parts."""
    found = blake2b(kind.__name__.encode(), digest_size=20)
    for part in parts:
        found.update(part)
    return found.digest()


def normal(value: Any) -> Any:
    """Maps equal scalars to one form, and containers to the plain type they inherit from."""
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
        number = complex.__add__(value, 0j)
        return number if number.imag else normal_float(number.real)
    if base is dict:
        return dict(dict.items(value))
    plain = set if base is frozenset else base
    return value if kind is plain else plain(base.__iter__(value))


def normal_float(value: float) -> Any:
    """Returns an integer if the float is integral."""
    if value.is_integer():
        return int(value)
    if value != value:
        raise NoForm
    return value


def serialize(result: Any, room: int, form: str) -> str:
    """Serializes the result within `room` characters.

    `form` decides whether a hash replaces the value: `full` never, `hash` always, `any` if the text
    is long and no tolerance can apply. Some canonical results have a hundred million characters.
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
    """Raises TimedOut when the time limit expires."""
    raise TimedOut


def call_with_limit(seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls the function with a wall-clock limit."""
    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def compile_first(programs: list[str]) -> Any:
    """Compiles the first valid program; raises the first program's error if none compiles."""
    first: BaseException | None = None
    for program in programs:
        try:
            return compile(program, "<response>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as error:
            first = first or error
    raise first or SyntaxError("no code")


def load(programs: list[str], entry_point: str) -> Any:
    """Runs the first program that compiles in a new module and returns its entry point."""
    module = sys.modules["candidate"] = type(sys)("candidate")
    exec(compile_first(programs), module.__dict__)
    return module.__dict__[entry_point]


def describe_error(error: BaseException, entry_point: str) -> str:
    """Describes an exception in a few words."""
    if type(error) is KeyError and error.args == (entry_point,):
        return f"does not define {entry_point}"
    if type(error) in (SyntaxError, IndentationError, TabError):
        return f"SyntaxError: {str(error.args[0])[:80]}"
    known = {TimedOut: "timed out", MemoryError: "out of memory", SystemExit: "exits"}
    known[TooLarge] = "too much output"
    return known.get(type(error)) or type(error).__name__[:60]


def call_once(function: Any, given: bytes, form: str, room: int, listed: bool) -> tuple[str, str]:
    """Calls the function on fresh arguments; returns the serialized result and its type name."""
    result = function(*marshal.loads(given))
    if listed and not isinstance(result, PLAIN):
        # The set oracles accept any iterable, but only a list of its elements can be serialized.
        result = list(result)
    name = f"{type(result).__module__}.{type(result).__qualname__}"[:100]
    return serialize(result, room, form), quote(name)


def main() -> None:
    """Runs the job: programs, entry point, load limit, nonce, room, listed, calls.

    A call is its marshalled arguments, its limit in seconds, the form of its result (`serialize`).
    """
    job = marshal.loads(sys.stdin.buffer.read())
    programs, entry_point, load_s, nonce, room, listed, calls = job
    channel = os.dup(1)
    for descriptor in (0, 1):
        os.dup2(2, descriptor)

    def emit(text: str) -> None:
        os.write(channel, f"{nonce} {text}\n".encode("ascii"))

    try:
        function = call_with_limit(load_s, load, programs, entry_point)
    except BaseException as error:  # the candidate can raise anything, SystemExit included
        emit(f'["broken",{quote(describe_error(error, entry_point))}]')
        os._exit(0)
    emit('["ready"]')
    for given, limit_s, form in calls:
        start = time.perf_counter()
        try:
            text, name = call_with_limit(limit_s, call_once, function, given, form, room, listed)
        except BaseException as error:
            emit(f'["raised",{quote(describe_error(error, ""))}]')
            os._exit(0)
        room -= len(text)
        emit(f'["ok",{time.perf_counter() - start:.6f},{name},{text}]')
    os._exit(0)


if __name__ == "__main__":
    main()
