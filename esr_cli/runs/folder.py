"""The folder of a run: its name, its lock, and the files of an earlier run in it."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from esr_cli.base import failures, files, writing
from esr_cli.config import ConfigError, TrainConfig, gate
from esr_cli.config.train import ADAPTED, FREE_ON_RESUME, NO_DIFFERENCE
from esr_cli.runs import environment, lines, saved, service
from esr_cli.runs.settings import under

# Not in the name: the pair, which names the parent folder, and settings that change no result.
FREE = "|".join(map(re.escape, NO_DIFFERENCE))
NOT_IN_NAME = re.compile(rf"({FREE})[.=]|(pair|sweep|cluster)=")
CUT_BACK = tuple(lines.OF_FILE)
CANARY = "teacher_canary.safetensors"
# What a run writes besides `CUT_BACK`.
FILES = (
    ".lock", "config.yaml", "engine.log", environment.FILE, "esr.log", "summary.json",
    "teacher.log", CANARY, *service.IDS,
)  # fmt: skip
# The same of several workers: engine-2.log, teacher_canary_math.safetensors.
CANARIES = "teacher_canary_*.safetensors"
OF_WORKERS = ("engine-*.log", "teacher-*.log", "trainer*.log", CANARIES)
FOLDERS = (
    ".trial", "adapter", "checkpoints", "eval", "plots", "probes", "probes-before", "student",
    "tensorboard", "wandb",
)  # fmt: skip
MOST_CHARS = 120
# What `auto` has become in the settings of a run that began.
RESOLVED = ("pair.dtype", "rollout.max_tokens", "rollout.weights")


def open_new(folder: Path, plain: dict[str, Any]) -> None:
    """Starts a new run in its folder; the caller holds the lock."""
    # Records of a run that died before its first checkpoint would mix with the new ones.
    names = (*CUT_BACK, CANARY, environment.FILE, *service.IDS)
    for path in (*map(folder.joinpath, names), *folder.glob(CANARIES)):
        path.unlink(missing_ok=True)
    _write_config(folder, plain)


def path_of(config: TrainConfig, overrides: list[str]) -> Path:
    """The folder of a new run."""
    return Path(config.run_dir or Path("runs") / config.pair.name / name_of(overrides))


def need_free(folder: Path) -> None:
    """Raises `ConfigError` if the folder already holds a run; the caller holds the lock."""
    if (folder / "summary.json").exists():
        raise ConfigError(f"run_dir={folder}: holds a complete run; choose another run_dir")
    if files.latest(folder) is not None:
        raise ConfigError(f"run_dir={folder}: holds an unfinished run; go on with resume={folder}")


def in_sweep(config: TrainConfig, overrides: list[str], varied: Iterable[str]) -> Path:
    """The folder of a run in a sweep, below `run_dir` if that is set.

    Its name holds all `varied` keys. The pair is left out if it already names the parent folder.
    """
    if config.run_dir:
        return Path(config.run_dir) / name_of(overrides, NOT_IN_NAME, varied)
    varied = [key for key in varied if key != "pair"]
    return Path("runs") / config.pair.name / name_of(overrides, NOT_IN_NAME, varied)


def difference(folder: Path, config: TrainConfig) -> str:
    """An error line on the first setting in which the run in `folder` differs from `config`.

    Empty if all settings that change results agree, or if nothing was saved.
    """
    has_run = files.latest(folder) is not None or (folder / "summary.json").is_file()
    if not has_run or not (folder / "config.yaml").is_file():
        return ""
    old_run, wanted = saved.settings(folder), gate.as_plain(config)
    for key, old, new in _differing(old_run, wanted):
        lags = key == "save_every" and old_run["rollout"].get("staleness")
        if _free(key, new, config) and not lags:
            continue
        return f"run_dir={folder}: holds a run with {key}={old}, not {new}; choose another run_dir"
    return ""


@contextmanager
def lock(folder: Path, key: str = "run_dir") -> Iterator[None]:
    """Locks the folder against other runs.

    The lock ends with the process, even if that is killed. Raises `ConfigError` if another run
    holds the lock or if the folder cannot be written.
    """
    need_writable(key, folder)
    need_no_links(key, [folder / name for name in FOLDERS])
    need_files(key, [folder / name for name in (*FILES, *CUT_BACK)])
    need_files(key, [path for pattern in OF_WORKERS for path in folder.glob(pattern)])
    try:
        file = writing.open_file(folder / ".lock", 0)
    except OSError as error:
        raise ConfigError(f"{key}={folder}: .lock cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read(20).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"{key}={folder}: another run is using it (process {who}); wait for it, or "
                f"choose another {key}"
            ) from None
        except OSError:
            # Some network file systems have no locks; then the folder is not protected.
            pass
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


def lock_saved(folder: Path) -> AbstractContextManager[None]:
    """Locks the folder of `resume=`; raises `ConfigError` if it holds no run or is locked."""
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"resume={folder}: holds no checkpoint; name the folder of a saved run")
    return lock(folder, "resume")


def reopen(config: TrainConfig, overrides: list[str]) -> TrainConfig:
    """The saved configuration of `resume=`, with what may differ as given: `steps` may grow, and
    settings that change no result are free. The caller holds the lock.
    """
    folder = Path(config.resume or "")
    last = files.latest(folder)
    if last is None:
        raise ConfigError(f"resume={folder}: holds no checkpoint; name the folder of a saved run")
    lines.check(folder, files.step_of(last))
    given = gate.as_plain(config)
    plain = saved.settings(folder, given)
    if "rollout.max_tokens" not in _keys(overrides):
        given["rollout"]["max_tokens"] = plain["rollout"]["max_tokens"]
    if given["rollout"]["weights"] == "auto":
        given["rollout"]["weights"] = plain["rollout"]["weights"]
    if os.environ.get("WANDB_MODE") and plain["tracking"]["mode"] != "disabled":
        plain["tracking"]["mode"] = given["tracking"]["mode"]
    for key in _keys(overrides):
        old, new = saved.value_at(plain, key), saved.value_at(given, key)
        if key in ("resume", "run_dir", *saved.TYPED_ONLY):
            continue
        if key == "save_every" and old != new and plain["rollout"]["staleness"]:
            raise ConfigError(
                f"save_every={new}: the saved run has {old}, and with rollout.staleness it "
                "decides which rollouts are fresh; drop it"
            )
        if under(key, FREE_ON_RESUME):
            saved.set_at(plain, key, new)
        elif key == "steps":
            if new < old:
                raise ConfigError(f"steps={new}: the saved run has steps={old}; it may only grow")
            plain["steps"] = new
        elif key in RESOLVED and new == "auto":
            continue  # resolved when the run began
        elif old != new:
            override = next(text for text in overrides if _keys([text]) == [key]).lstrip("+~")
            saved_value = old
            if isinstance(old, dict) and isinstance(new, dict):
                both = _differing(old, new)
                changed = [x for x in both if not _free(f"{key}.{x[0]}", x[2], config)]
                if not changed and old.keys() == new.keys():
                    continue
                saved_value = "{}.{}={}, not {}".format(key, *changed[0]) if changed else "more"
            raise ConfigError(
                f"{override}: the saved run has {saved_value}; drop it or start a new run"
            )
    return gate.typed(plain, TrainConfig)


def _free(key: str, new: Any, config: TrainConfig) -> bool:
    resolved = key in RESOLVED and new == "auto"
    return resolved or under(key, (*FREE_ON_RESUME, *(ADAPTED if config.pair.adapt else ())))


def free_on_resume(overrides: list[str]) -> list[str]:
    """The overrides that a resumed run may be given, as they change no result."""
    return [text for text in overrides if under(_keys([text])[0], FREE_ON_RESUME)]


def rewind(folder: Path, step: int, plain: dict[str, Any]) -> None:
    """Truncates the records to `step`, so that later steps are not recorded twice."""
    _write_config(folder, plain)
    (folder / "summary.json").unlink(missing_ok=True)
    for name in CUT_BACK:
        if (folder / name).exists():
            files.truncate_jsonl(folder / name, step)


def sync_records(folder: Path) -> None:
    """Flushes the records to disk, before a checkpoint relies on them."""
    for name in CUT_BACK:
        if (folder / name).exists():
            files.sync(folder / name)


def forget_evaluation(folder: Path, step: int) -> None:
    """Drops the responses of an evaluation that was interrupted before its metrics were written."""
    for name in ("generations.jsonl", "samples.jsonl"):
        if (folder / name).exists():
            files.truncate_jsonl(folder / name, step - 1)


def need_writable(key: str, folder: Path) -> None:
    """Creates the folder; raises `ConfigError` if it cannot be written.

    Tracebacks of this process are written to its `esr.log` from now on.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.unlink(missing_ok=True)
        writing.open_file(probe, os.O_EXCL).close()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"{key}={folder}: cannot be written ({error.strerror})") from None
    failures.log_to(folder / "esr.log")


def need_no_links(key: str, paths: Iterable[Path]) -> None:
    """Raises `ConfigError` if one of these files and folders is a link, pipe or device.

    A run folder from a stranger could lead with it to any file of the user's.
    """
    for path in paths:
        if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
            kind = "a link" if path.is_symlink() else "a pipe or device"
            raise ConfigError(
                f"{key}={path.parent}: {path.name} in it is {kind}, through which esr does not "
                "write; put a file or folder in its place"
            )


def need_files(key: str, paths: Iterable[Path]) -> None:
    """Raises `ConfigError` if one of these is there and no regular file."""
    paths = list(paths)
    need_no_links(key, paths)
    for path in paths:
        if path.is_dir():
            raise ConfigError(f"{key}={path.parent}: {path.name} in it is a folder; remove it")


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


def _differing(before: dict[str, Any], given: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The settings that differ: key, saved value, given value."""
    for key in _leaves(given):
        old, new = saved.value_at(before, key), saved.value_at(given, key)
        if old != new:
            yield key, old, new


def name_of(
    overrides: list[str], left_out: re.Pattern[str] = NOT_IN_NAME, varied: Iterable[str] = ()
) -> str:
    """A folder name built from the command line's overrides.

    Overrides that match `left_out` are dropped unless their key is in `varied`. A name over
    MOST_CHARS is cut and ends with a hash of the full name.
    """
    parts = [text.lstrip("+") for text in overrides]
    varied_keys = {key.lstrip("+") for key in varied}
    required = {part for part in parts if part.split("=")[0] in varied_keys}
    kept = sorted(part for part in parts if part in required or not left_out.match(part))
    name = _as_file_name(kept)
    if len(name) <= MOST_CHARS:
        return name
    # Varied settings come first and short ones next, so that the cut removes the longest others.
    ordered = _as_file_name(sorted(kept, key=lambda part: (part not in required, len(part))))
    return f"{ordered[:MOST_CHARS]}-{files.hash_of({'': name})}"


def _as_file_name(parts: list[str]) -> str:
    return re.sub(r"[^\w=.,-]+", "-", ",".join(parts)) or "default"
