"""Reads the file of an offline W&B run: a log of blocks in LevelDB's format."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, FULL, LAST = 32768, 1, 4


def files(folder: Path) -> list[Path]:
    """The W&B files of a run folder, one for each start, in their order."""
    return sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))


def records(path: Path) -> list[Any]:
    """The records in a file so far."""
    data, place, whole, found = path.read_bytes(), 7, b"", []
    assert data.startswith(b":W&B")
    while place < len(data):
        if BLOCK - place % BLOCK < 7:  # no room for a header: the block's end is padding
            place += BLOCK - place % BLOCK
            continue
        header = data[place : place + 7]
        _, length, kind = struct.unpack("<IHB", header) if len(header) == 7 else (0, len(data), 0)
        if place + 7 + length > len(data):  # this record is still being written
            break
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            found.append(record)
            whole = b""
    return found


def finished(path: Path, seconds: float = 60) -> list[Any]:
    """Waits until W&B's own process has written the last record; returns all of them."""
    until = time.monotonic() + seconds
    while True:
        found = records(path)
        if of(found, "exit") or time.monotonic() > until:
            return found
        time.sleep(0.1)


def of(found: list[Any], kind: str) -> list[Any]:
    """The records of one kind."""
    return [getattr(each, kind) for each in found if each.WhichOneof("record_type") == kind]


def values(items: Any) -> dict[str, Any]:
    """Keys and values of a history row, a summary or a configuration."""
    return {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}
