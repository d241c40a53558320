"""What decides a probe's figures; two that agree in it are one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esr_cli.base import files
from esr_cli.config import ProbeCommandConfig, TrainConfig, gate
from esr_cli.runs import record


def settings(config: ProbeCommandConfig, name: str) -> dict[str, Any]:
    """All of it for one probe of resolved settings, as plain mappings."""
    plain = gate.as_plain(config)
    found = {"probe": {name: plain["probe"][name]}, "run": _run(config)}
    if name == "stability":
        steps = sorted(record.evaluated_by(Path(str(config.run))))
        return found | {"evaluations": [f"{benchmark} {step}" for benchmark, step in steps]}
    asked = {key: plain[key] for key in ("pair", "source", "seed", "prompts", "samples")}
    if config.source == "task":
        drawn = {key: plain["rollout"][key] for key in ("temperature", "top_p", "top_k")}
        # Profiles that were drawn before tokens were barred have not this line, and are others.
        asked |= {"task": plain["task"], "rollout": drawn | {"shared_only": True}}
    else:
        asked |= {"benchmark": plain["benchmark"], "limit": plain["limit"]}
    return found | asked | {
        "engine": config.rollout.engine, "temperature": config.loss.temperature,
        "data_dir": files.data_folder(config.data_dir), "weights": _weights(config),
    }  # fmt: skip


def _run(config: ProbeCommandConfig) -> dict[str, Any] | None:
    if not config.run:
        return None
    folder = Path(config.run)
    saved = gate.read_yaml(folder / "config.yaml")
    step = files.read_rows(folder / "metrics.jsonl")[-1]["step"]
    return {"config_hash": saved["config_hash"], "step": step}


def _weights(config: ProbeCommandConfig) -> dict[str, dict[str, list[int]]]:
    """Of models in folders each weight file's size in bytes and the second it was last changed in:
    what a folder is called does not change with what it holds.
    """
    named = {"student": config.pair.student.path, "teacher": config.pair.teacher.path}
    if config.run:
        named["after"] = str(Path(config.run) / "student")
    return {role: _files(Path(name)) for role, name in named.items() if Path(name).is_dir()}


def _files(folder: Path) -> dict[str, list[int]]:
    found = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    told = ((path.name, path.stat()) for path in found)
    return {name: [stat.st_size, int(stat.st_mtime)] for name, stat in told}


def profile_of(config: TrainConfig) -> ProbeCommandConfig:
    """The probe that finds N: the pair's profile on the prompts of the run's task."""
    plain = gate.as_plain(config)
    return gate.typed({**plain, "probe": {"profile": {}}, "source": "task"}, ProbeCommandConfig)
