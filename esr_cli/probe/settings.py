"""The settings that determine a probe's figures: equal settings mean the same probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.config import ConfigError, ProbeCommandConfig, TrainConfig, gate
from esr_cli.runs import record


def settings(config: ProbeCommandConfig, name: str) -> dict[str, Any]:
    """The determining settings of one probe, from resolved settings, as plain mappings."""
    plain = gate.as_plain(config)
    result = {"probe": {name: plain["probe"][name]}, "run": _run(config)}
    if name == "stability":
        steps = sorted(record.evaluated_by(Path(str(config.run))))
        return result | {"evaluations": [f"{benchmark} {step}" for benchmark, step in steps]}
    sampled = {key: plain[key] for key in ("pair", "source", "seed", "prompts", "samples")}
    if config.source == "task":
        sampling = {key: plain["rollout"][key] for key in ("temperature", "top_p", "top_k")}
        # Older profiles lack this key: they were sampled without the token mask and differ.
        sampled |= {"task": plain["task"], "rollout": sampling | {"shared_only": True}}
        # Whether the profile has the teacher's own lengths.
        sampled |= {"teacher_asked": config.teacher.engine == "local"}
    else:
        sampled |= {"benchmark": plain["benchmark"], "limit": plain["limit"]}
    return result | sampled | {
        "engine": config.rollout.engine, "temperature": config.loss.temperature,
        "data_dir": files.data_folder(config.data_dir), "weights": _weights(config),
    }  # fmt: skip


def _run(config: ProbeCommandConfig) -> dict[str, Any] | None:
    if not config.run:
        return None
    folder = Path(config.run)
    plain = gate.read_yaml(folder / "config.yaml")
    # Computed, since what the file names may be missing or of other settings.
    plain.pop("config_hash", None)
    return {"config_hash": files.hash_of(plain), "step": record.last_step(folder)}


def _weights(config: ProbeCommandConfig) -> dict[str, dict[str, list[int]]]:
    """Size in bytes and modification time in seconds of each weight file of a local model.

    A folder may keep its name while its weights change.
    """
    named = {"student": config.pair.student.path, "teacher": config.pair.teacher.path}
    if config.run:
        named["after"] = str(Path(config.run) / "student")
    return {role: _files(Path(name)) for role, name in named.items() if Path(name).is_dir()}


def _files(folder: Path) -> dict[str, list[int]]:
    sizes = {}
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
        try:
            stat = path.stat()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
        sizes[path.name] = [stat.st_size, int(stat.st_mtime)]
    return sizes


def profile_of(config: TrainConfig) -> ProbeCommandConfig:
    """Settings of the probe that chooses N: the profile on the prompts of the run's task."""
    plain = gate.as_plain(config)
    return gate.typed({**plain, "probe": {"profile": {}}, "source": "task"}, ProbeCommandConfig)
