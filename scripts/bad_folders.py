"""Breaks run folders and model folders, and writes odd files, for `try_bad_input.py`."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

Mangler = Callable[[Path, random.Random], None]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghij")
)
YAML = (BOMB, "[", "a: b: c", "- 1", "", "null", "5", "seed: ${oc.env:HOME}", "seed: ${seed}",
        "pair: {name: 3}", "!!python/object/apply:os.system ['true']", "seed: 0\nseed: 1", "\t",
        "? [a]\n: b", "1: 2", "steps: .nan", "pair: []", "a: &a {b: *a}", "\x00")  # fmt: skip
ROWS = ("null", "[]", "5", '"text"', "{}", '{"step": null}', '{"step": "x"}', '{"step": 1e400}',
        '{"step": 1, "metric": 5}', '{"step": 1, "benchmark": null, "metric": "avg@1"}',
        '{"id": "\\ud800", "step": 1}', "NaN", '{"step": -1}', '{"step": 2,', "\x00" * 9,
        '{"a":' * 5000, '{"step": 1, "step": 2}', '{"responses": 5, "step": 2}',
        '{"step": 2, "benchmark": "lab", "metric": "avg@1", "value": null, "n": "x"}',
        '{"step": 2, "benchmark": "lab", "id": [], "correct": {}}')  # fmt: skip
JSON = ("", "null", "[]", "{}", "5", "{", '"x"', "NaN", "\x00", "[" * 9999, '{"step": "x"}')
# In a model's own files.
WRONG: tuple[Any, ...] = (
    None,
    [],
    {},
    "x",
    -1,
    0,
    1e30,
    True,
    [None],
    {"a": 1},
    "\ud800",
    "../x",
    10**20,
)
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}"
TEMPLATES = (LOOP, "{{", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 1 // 0 }}", "",
             "{{ raise_exception('no') }}", "{{ 'x' * 10 ** 10 }}", "{{ messages[9].content }}",
             "{{ ().__class__.__base__.__subclasses__() }}", "{{ 10 ** 10 ** 10 }}")  # fmt: skip

INLINE = ("rollout=eager", "execution=inline")


def _truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(max(1, path.stat().st_size))])


def _garble(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(1 + len(content) // 50):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def _noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(rng.choice((0, 1, 999))))


def _folder(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path, rng: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.symlink_to(rng.choice((path.name, "nowhere", "/dev/null", "/proc/self/mem", "..")))


def _closed(path: Path, rng: random.Random) -> None:
    path.chmod(0)


def _removed(path: Path, rng: random.Random) -> None:
    path.unlink()


def _rewritten(path: Path, rng: random.Random) -> None:
    """Well-formed files with content that no one expects, by their kind."""
    if path.suffix == ".yaml":
        whole = path.read_text()
        path.write_text(rng.choice((*YAML, f"{whole}\n{rng.choice(YAML)}")))
    elif path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(ROWS))
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".jinja":
        path.write_text(rng.choice(TEMPLATES))
    elif path.suffix == ".json" and rng.random() < 0.7:
        _wrong_value(path, rng)
    else:
        path.write_text(rng.choice(JSON))


def _wrong_value(path: Path, rng: random.Random) -> None:
    tree = json.loads(path.read_text())
    inner = tree
    while isinstance(inner, dict) and inner:
        key = rng.choice(list(inner))
        if not isinstance(inner[key], dict) or not inner[key] or rng.random() < 0.3:
            inner[key] = rng.choice(WRONG)
            break
        inner = inner[key]
    path.write_text(json.dumps(tree))


MANGLERS: tuple[Mangler, ...] = (
    _truncate, _garble, _noise, _folder, _fifo, _link, _closed, _removed, _rewritten, _rewritten,
    _rewritten, _rewritten,
)  # fmt: skip
ODD_NAMES = ("step-", "step-x", "step-99999999999999999999", "step-000002 ", "é", "step-000009",
             ".step-000003.partial", "step--1", "a\nb")  # fmt: skip


def _broken(
    good: Path, count: int, seed: int, folder: Path, names: Sequence[str]
) -> Iterator[tuple[str, Path]]:
    """Copies of a folder in which one file is broken, every name in turn; and what was done."""
    rng = random.Random(seed)
    files = sorted(path for path in good.rglob("*") if path.is_file() and path.name != ".lock")
    chosen = [path for path in files if any(path.match(name) for name in names)]
    rng.shuffle(chosen)
    for number in range(count):
        source, mangler = chosen[number % len(chosen)], rng.choice(MANGLERS)
        target = folder / "broken"
        copy(good, target)
        place = target / source.relative_to(good)
        mangler(place, rng)
        yield f"{source.relative_to(good)} {mangler.__name__.strip('_')}", target
        shutil.rmtree(target)


def broken_runs(good: Path, count: int, seed: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """Run folders with one broken file, or with entries of odd names beside the checkpoints."""
    names = ("*.yaml", "*.jsonl", "*.json", "esr.log", "*.safetensors", "*.json", "student/*")
    odd = min(len(ODD_NAMES), count // 5)
    yield from _broken(good, count - odd, seed, folder, names)
    for name in ODD_NAMES[:odd]:
        target = folder / "broken"
        copy(good, target)
        place = target / "checkpoints" / name
        if name == "é":
            place.write_text("x")
        else:
            place.mkdir()
        yield f"checkpoints/{name!r}", target
        shutil.rmtree(target)


def broken_models(good: Path, count: int, seed: int, folder: Path) -> Iterator[tuple[str, Path]]:
    """Model folders with one broken file."""
    yield from _broken(good, count, seed, folder, ("*.json", "*.safetensors", "*.jinja"))


def copy(source: Path, target: Path) -> None:
    """A copy of a folder that keeps links and FIFOs as they are."""
    target.mkdir(parents=True)
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_symlink():
            place.symlink_to(os.readlink(entry))
        elif entry.is_dir():
            copy(entry, place)
        elif entry.is_fifo():
            os.mkfifo(place)
        else:
            shutil.copy(entry, place)


def reading(command: str, run: Path, good: Path) -> list[str]:
    """The arguments with which a command reads a run folder."""
    return {
        "report": ["report", f"runs={run}"],
        "compare": ["compare", f"a={run}", f"b={good}"],
        "train": ["train", f"resume={run}", "steps=3"],
        "eval": ["eval", f"run={run}", "limit=2", "benchmark.lab.samples=2", *INLINE],
        "probe": ["probe", f"run={run}", "prompts=2", "probe=[profile,stability]"],
    }[command]


def write_files(folder: Path) -> None:
    """Writes the files that the settings of `bad_settings.py` name."""
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    odd = '{"problem": 5}\n[]\nnull\n{"problem": null, "id": []}\n{"problem": "\\ud800"}\n{\n'
    for name, content in {
        "odd.jsonl": odd.encode(), "latin.jsonl": b'{"problem": "\xe9"}\n', "odd.parquet": b"PAR1x",
        "odd.jsonl.gz": b"\x1f\x8bx", "deep.jsonl": b'{"a":' * 99_999,
        "broken.jinja": b"{{",
        "recursive.jinja": b"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "looping.jinja": b"{% for a in range(99999) %}" * 3 + b"x" + b"{% endfor %}" * 3,
        "large.jinja": b"{{ 'x' * 10 ** 11 }}",
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
