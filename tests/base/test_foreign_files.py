"""Files that are no files, and rows that no engine of ours wrote: one line each, and no wait."""

from __future__ import annotations

import json
import os

import pytest

from esr_cli.base import files, reading
from esr_cli.base.reading import ConfigError


@pytest.mark.parametrize(
    "kind", ["fifo", "folder", "device", "loop", "dangling", "locked away", "unreadable"]
)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "rows.jsonl"
    make = {
        "fifo": lambda: os.mkfifo(path), "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"), "loop": lambda: path.symlink_to(path),
        "dangling": lambda: path.symlink_to(tmp_path / "nowhere"),
        "locked away": lambda: path.symlink_to("/proc/1/mem/x"),
        "unreadable": lambda: path.symlink_to("/proc/self/mem"),
    }  # fmt: skip
    make[kind]()
    for read in (reading.text, files.read_rows, files.read_json, lambda p: list(reading.lines(p))):
        with pytest.raises(ConfigError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "blob").write_text('{"a": 1}\n')
    (tmp_path / "rows.jsonl").symlink_to(tmp_path / "blob")
    assert files.read_rows(tmp_path / "rows.jsonl") == [{"a": 1}]


def test_a_line_is_bounded_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_LINE_BYTES", 1000)
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n' + json.dumps({"a": "x" * 2000}) + "\n")
    with pytest.raises(ConfigError, match=rf"^{path}:2: a line of more than"):
        files.read_rows(path)
    with pytest.raises(ConfigError, match="is larger than 0 KiB"):
        reading.text(path, 100)


def test_a_hole_of_a_terabyte_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="is larger than 1 MiB"):
        reading.text(path, 1 << 20)
    with pytest.raises(ConfigError, match=":1: a line of more than 32 MiB"):
        files.read_rows(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "{", ""])
def test_text_that_is_no_json_is_one_error(tmp_path, text):
    with pytest.raises(reading.BrokenError):
        reading.parse(text)
    (tmp_path / "rows.jsonl").write_text(text + '\n{"a": 1}\n')
    assert files.read_rows(tmp_path / "rows.jsonl") == [{"a": 1}]


def test_lone_surrogates_become_replacement_characters_and_pairs_stay():
    row = reading.parse(r'{"\ud800a": ["\uDC00", {"b": "\ud83d\ude00"}]}')
    assert row == {"\ufffda": ["\ufffd", {"b": "\U0001f600"}]}


def test_nothing_is_written_through_a_link_or_into_a_pipe(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(mine)
    os.mkfifo(pipe)
    for path in (link, pipe):
        with pytest.raises(OSError):
            files.append_rows(path, [{"a": 1}])
        (tmp_path / f".{path.name}.partial").symlink_to(mine)
        files.write_text(path, "new")
        assert path.read_text() == "new" and not path.is_symlink()
    assert mine.read_text() == "mine"


def test_a_checkpoint_that_is_a_link_is_none(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-000001").symlink_to(tmp_path / "elsewhere")
    assert files.checkpoints(tmp_path) == []


def test_foreign_text_cannot_steer_a_terminal():
    shown = reading.printable("a\x1b]0;title\x07\x9b2J\u202eb\nc\ud800")
    assert shown == "a\ufffd]0;title\ufffd\ufffd2J\ufffdb\nc\ufffd"
