"""The program that runs inside the sandbox: calls a candidate's function and writes its results.

It is passed as source text, imports only the standard library, and never holds expected outputs.
Input: one marshalled tuple on standard input, see `main`. Output: a line for the load and for each
call, with `nonce` and a JSON list: `["ready"]`, `["broken", reason]`, `["ok", CPU seconds, type
name, value]` or, last, `["raised", exception]`. A value is serialized by its exact type
(`spelling`, which arrives as text as well): the parent compares plain data without any method of
the candidate. A candidate can forge this output but does not know the correct results.
"""

from __future__ import annotations

import marshal
import os
import signal
import sys
import time
from _json import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from esr_cli.graders.spelling import PLAIN, TooLarge, serialize


class TimedOut(BaseException):
    """A BaseException, so that a candidate's `except Exception` does not catch it."""


def alarm(signum: int, frame: Any) -> None:
    """Raises TimedOut when the limit is reached."""
    raise TimedOut


def call_with_limit(seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls the function with a limit on CPU time, of all threads; the parent bounds the rest."""
    signal.signal(signal.SIGPROF, alarm)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return function(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


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
    """Runs the job: spelling, programs, entry point, load limit, nonce, room, listed, calls.

    A call is its marshalled arguments, its limit in CPU seconds, and the form of its result
    (`serialize`).
    """
    job = marshal.loads(sys.stdin.buffer.read())
    spelling, programs, entry_point, load_s, nonce, room, listed, calls = job
    exec(compile(spelling, "<spelling>", "exec", dont_inherit=True), globals())
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
        start = time.process_time()
        try:
            text, name = call_with_limit(limit_s, call_once, function, given, form, room, listed)
        except BaseException as error:
            emit(f'["raised",{quote(describe_error(error, ""))}]')
            os._exit(0)
        room -= len(text)
        emit(f'["ok",{time.process_time() - start:.6f},{name},{text}]')
    os._exit(0)


if __name__ == "__main__":
    main()
