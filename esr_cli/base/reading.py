"""Reads files that strangers may have written: regular files of bounded size, parsed safely.

All files of run folders, probe folders, model folders and data folders are opened here. A FIFO or
a device would wait or never end, and a file of one huge line would fill the memory. What cannot be
read raises `ConfigError` with one line.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

MIB = 1 << 20
MOST_TEXT_BYTES, MOST_LINE_BYTES = 256 * MIB, 32 * MIB
SURROGATE = re.compile("[\ud800-\udfff]")
# Characters that steer a terminal, or that reverse the text around them.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class ConfigError(ValueError):
    """An invalid setting or input; the message is one line with key, value and remedy."""


class BrokenError(ValueError):
    """A text that is not JSON, broken at `line`; the message gives the reason."""

    def __init__(self, reason: str, line: int = 1) -> None:
        super().__init__(reason)
        self.line = line


def open_file(path: Path) -> IO[bytes]:
    """Opens a regular file, or a link to one, for reading. Never waits."""
    try:
        # Opening a device may have effects, so its kind is read before and after.
        _need_regular(path, os.stat(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        file = os.fdopen(descriptor, "rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    _need_regular(path, os.fstat(descriptor))
    return file


def text(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The text of a UTF-8 file of at most `most_bytes`."""
    with open_file(path) as file:
        return all_of(file, path, most_bytes)


def all_of(file: IO[bytes], path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The text of an open file of at most `most_bytes`; `path` is for the message."""
    content = _read(file.read, most_bytes + 1, str(path))
    if len(content) > most_bytes:
        raise ConfigError(f"{path}: is larger than {_size(most_bytes)}; this is no file of esr's")
    return decoded(content.removeprefix(codecs.BOM_UTF8), str(path))


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1. Bytes that are not UTF-8 are replaced."""
    with open_file(path) as file:
        for number, line in lines_of(file, path):
            yield number, line.decode(errors="replace")


def lines_of(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of an open file with their numbers, from 1."""
    number = 0
    while line := _read(file.readline, MOST_LINE_BYTES + 1, str(path)):
        number += 1
        if len(line) > MOST_LINE_BYTES:
            limit = _size(MOST_LINE_BYTES)
            raise ConfigError(f"{path}:{number}: a line of more than {limit}; split or drop it")
        yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _read(read: Callable[[int], bytes], most_bytes: int, where: str) -> bytes:
    """What `read` returns; a link may lead to what cannot be read, such as /proc/self/mem."""
    try:
        return read(most_bytes)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read ({error.strerror})") from None


def decoded(content: bytes, where: str) -> str:
    """UTF-8 as text; raises `ConfigError` for other bytes, with their place `where`."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is not UTF-8 ({error.reason}); convert it") from None


def parse(text: str) -> Any:
    """The value of a JSON text. Lone surrogates, which no file can hold, become U+FFFD.

    Raises `BrokenError`.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise BrokenError("nested too deeply") from None
    except ValueError as error:  # also a number of thousands of digits
        raise BrokenError(str(error), getattr(error, "lineno", 1)) from None
    return whole(value) if "\\ud" in text or "\\uD" in text else value


def whole(value: Any) -> Any:
    """A nested value whose texts can be written: each lone surrogate is replaced by U+FFFD."""
    if isinstance(value, str):
        return SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [whole(each) for each in value]
    if isinstance(value, dict):
        return {whole(key): whole(each) for key, each in value.items()}
    return value


def printable(text: str) -> str:
    """A foreign text for the terminal: characters that would steer it are replaced by U+FFFD."""
    return SURROGATE.sub("\ufffd", CONTROL.sub("\ufffd", text))


def _need_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise ConfigError(f"{path}: is {kind}, not a file; remove it")


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // 1024} KiB"
