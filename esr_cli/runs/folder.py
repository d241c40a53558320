"""Which folder a run lives in, and what an earlier run left there."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.config import ConfigError, TrainConfig, gate
from esr_cli.config.train import NO_DIFFERENCE
from esr_cli.runs import environment, wandb_mirror

# The pair names the folder above; what changes no figure names none.
NOT_IN_NAME = re.compile(rf"({'|'.join(NO_DIFFERENCE)})[.=]|(pair|sweep|cluster)=")
CUT_BACK = (
    "metrics.jsonl", "eval.jsonl", "generations.jsonl", "samples.jsonl", "kl_by_position.jsonl",
)  # fmt: skip
MOST_CHARS = 120


def open_new(folder: Path, plain: dict[str, Any]) -> None:
    """Begins a new run in its folder, which is held."""
    # What a run left that died before its first checkpoint would mix with the new figures.
    for name in (*CUT_BACK, environment.FILE, wandb_mirror.ID):
        (folder / name).unlink(missing_ok=True)
    _write_config(folder, plain)


def free_folder(config: TrainConfig, overrides: list[str]) -> Path:
    """Where a new run would live; raises `ConfigError` where one is in the way."""
    folder = Path(config.run_dir or Path("runs") / config.pair.name / name_of(overrides))
    if (folder / "summary.json").exists():
        raise ConfigError(f"run_dir={folder}: holds a complete run; choose another run_dir")
    if files.latest(folder) is not None:
        raise ConfigError(f"run_dir={folder}: holds an unfinished run; go on with resume={folder}")
    return folder


def in_sweep(config: TrainConfig, overrides: list[str], varied: Iterable[str]) -> Path:
    """Where a run of a sweep lives: there `run_dir` is the folder above.

    Its name tells all of the `varied` keys, but for the pair where the folder above does.
    """
    if config.run_dir:
        return Path(config.run_dir) / name_of(overrides, NOT_IN_NAME, varied)
    varied = [key for key in varied if key != "pair"]
    return Path("runs") / config.pair.name / name_of(overrides, NOT_IN_NAME, varied)


def difference(folder: Path, config: TrainConfig) -> str:
    """How the settings that a run in `folder` was made with differ from `config`, in a line.

    Empty where they agree in all that changes figures, or where nothing was saved.
    """
    saved_one = files.latest(folder) is not None or (folder / "summary.json").is_file()
    if not saved_one or not (folder / "config.yaml").is_file():
        return ""
    saved, wanted = saved_config(folder), gate.as_plain(config)
    for key, old, new in _differing(saved, wanted):
        if key.split(".")[0] in NO_DIFFERENCE:
            continue
        if key == "rollout.max_tokens" and new == "auto":
            continue
        return f"run_dir={folder}: holds a run with {key}={old}, not {new}; choose another run_dir"
    return ""


@contextmanager
def lock(folder: Path, key: str = "run_dir") -> Iterator[None]:
    """Keeps other runs out of the folder; raises `ConfigError` where one is at work in it.

    The hold ends with the process, whatever ends that one. Raises it too where the folder cannot be
    written.
    """
    need_writable(key, folder)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip() or "unknown"
            raise ConfigError(
                f"{key}={folder}: another run is at work in it (process {who}); wait for it, or "
                f"choose another {key}"
            ) from None
        except OSError:
            # Some network file systems know no locks: then there is no guard.
            pass
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def reopen(config: TrainConfig, overrides: list[str]) -> tuple[TrainConfig, Path, Path]:
    """The saved configuration of `resume=` (steps may grow), its folder, its last checkpoint."""
    folder = Path(config.resume or "")
    last = files.latest(folder)
    if last is None or not (folder / "config.yaml").is_file():
        raise ConfigError(f"resume={folder}: holds no checkpoint; name the folder of a saved run")
    need_writable("resume", folder)
    saved = saved_config(folder)
    given = gate.as_plain(config)
    if "rollout.max_tokens" not in _keys(overrides):
        given["rollout"]["max_tokens"] = saved["rollout"]["max_tokens"]
    for key in _keys(overrides):
        old, new = _dig(saved, key), _dig(given, key)
        if key == "steps":
            if new < old:
                raise ConfigError(f"steps={new}: the saved run has steps={old}; it may only grow")
            saved["steps"] = new
        elif key == "rollout.max_tokens" and new == "auto":
            continue  # measured when the run began
        elif key not in ("resume", "run_dir") and old != new:
            said = next(text for text in overrides if _keys([text]) == [key]).lstrip("+~")
            told = old
            if isinstance(old, dict) and isinstance(new, dict):
                first = next(_differing(old, new), None)
                told = "{}.{}={}, not {}".format(key, *first) if first else "more"
            raise ConfigError(f"{said}: the saved run has {told}; drop it or start a new run")
    return gate.typed(saved, TrainConfig), folder, last


def saved_config(folder: Path) -> dict[str, Any]:
    """The settings that a run was made with, as plain mappings."""
    saved = gate.read_yaml(folder / "config.yaml")
    saved.pop("config_hash", None)
    return saved


def rewind(folder: Path, step: int, plain: dict[str, Any]) -> None:
    """Cuts the records back to `step`, so that the steps after it are told once."""
    _write_config(folder, plain)
    (folder / "summary.json").unlink(missing_ok=True)
    for name in CUT_BACK:
        if (folder / name).exists():
            files.truncate_jsonl(folder / name, step)


def sync_records(folder: Path) -> None:
    """Puts the rows logged so far on disk, before a checkpoint counts on them."""
    for name in CUT_BACK:
        if (folder / name).exists():
            files.sync(folder / name)


def forget_evaluation(folder: Path, step: int) -> None:
    """Drops what an evaluation left that was cut off before its figures were written."""
    for name in ("generations.jsonl", "samples.jsonl"):
        if (folder / name).exists():
            files.truncate_jsonl(folder / name, step - 1)


def need_writable(key: str, folder: Path) -> None:
    """Makes the folder; raises `ConfigError` where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{key}={folder}: cannot be written ({error.strerror})") from None


def _write_config(folder: Path, plain: dict[str, Any]) -> None:
    gate.write_yaml({**plain, "config_hash": files.hash_of(plain)}, folder / "config.yaml")


def _keys(overrides: list[str]) -> list[str]:
    # `lm@pair.student=NAME` fills pair.student.
    names = [override.lstrip("+~").split("=")[0].split("@")[-1] for override in overrides]
    return ["rollout.max_tokens" if name == "rollout_len" else name for name in names]


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _differing(saved: dict[str, Any], given: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The settings of `given` that are others in `saved`, with the value in each."""
    for key in _leaves(given):
        old, new = _dig(saved, key), _dig(given, key)
        if old != new:
            yield key, old, new


def _dig(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def name_of(
    overrides: list[str], left_out: re.Pattern[str] = NOT_IN_NAME, varied: Iterable[str] = ()
) -> str:
    """A folder's name from what the command line changed, without what `left_out` matches, unless
    it is one of the `varied` keys; what is cut off a long one stands in a hash at its end.
    """
    parts = [text.lstrip("+") for text in overrides]
    first = {key.lstrip("+") for key in varied}
    told = {part for part in parts if part.split("=")[0] in first}
    kept = sorted(part for part in parts if part in told or not left_out.match(part))
    name = _legible(kept)
    if len(name) <= MOST_CHARS:
        return name
    # What tells it from its siblings is not cut, nor what is short for the sake of a long path.
    named = _legible(sorted(kept, key=lambda part: (part not in told, len(part))))
    return f"{named[:MOST_CHARS]}-{files.hash_of({'': name})}"


def _legible(parts: list[str]) -> str:
    return re.sub(r"[^\w=.,-]+", "-", ",".join(parts)) or "default"
