"""Writes run folders as plain files, for tests of the code that reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hydra import compose, initialize_config_dir

from esr_cli.base.files import append_rows, conf_dir, write_json, write_rows
from esr_cli.config import TrainConfig, gate
from esr_cli.runs import environment
from esr_cli.runs.saved import set_at


def settings(*overrides: str) -> dict:
    """The settings that `esr train OVERRIDES` would save as config.yaml."""
    return deepcopy(_composed(overrides))


@cache
def _composed(overrides: tuple[str, ...]) -> dict:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = compose("train", overrides=list(overrides))
    return gate.as_plain(gate.read(tree, TrainConfig))


def write_run(
    folder: Path, *overrides: str, right: dict[int, Sequence[Sequence[int]]], seconds: float = 1.0,
    state: str = "complete", benchmark: str = "lab", length: float = 100.0,
    tokens: float = 64.0, changed: Mapping[str, Any] = MappingProxyType({}),
) -> Path:  # fmt: skip
    """Writes a run. `right` maps each evaluated step to verdicts (0 or 1), question by question.

    `changed` has settings by dotted name, for many runs: it takes less time than `overrides`.
    """
    folder.mkdir(parents=True)
    tree = settings(*overrides)
    for key, value in changed.items():
        set_at(tree, key, value)
    gate.write_yaml(tree, folder / "config.yaml")
    last = max(right)
    times = {f"time/{phase}_s": seconds / 4 for phase in ("generate", "score", "train", "sync")}
    write_rows(folder / "metrics.jsonl", [
        {"step": step + 1, "rollout/tokens": tokens, "memory/peak_gib": 2.0, **times,
         "time/step_s": seconds, "train/skipped": 0, "rollout/repeat_rate": 0.0,
         "rollout/eos_rate": 1.0, "rollout/length_mean": 8.0} for step in range(last)
    ])  # fmt: skip
    for step, questions in right.items():
        common = {"step": step, "benchmark": benchmark}
        shares = [sum(each) / len(each) for each in questions]
        mean = sum(shares) / len(shares)
        append_rows(folder / "eval.jsonl", [
            {**common, "metric": "avg@2", "value": mean, "low": mean - 0.05, "high": mean + 0.05,
             "n": len(shares)},
            {**common, "metric": "repeats", "value": 0.0, "low": 0.0, "high": 0.02,
             "n": len(shares)},
            {**common, "metric": "length_tokens/mean", "value": length, "low": length - 1,
             "high": length + 1, "n": len(shares)},
        ])  # fmt: skip
        append_rows(folder / "generations.jsonl", [
            {"id": f"q{index}", **common, "responses": ["\\boxed{1}"] * len(each), "correct": each}
            for index, each in enumerate(questions)
        ])  # fmt: skip
    environment.note(folder, 0, gpu="A GPU of its own")
    if state == "complete":
        write_json(folder / "summary.json", {"steps": last})
    if state == "failed":
        (folder / "esr.log").write_text("2026-01-01 10:00:00 failed: out of memory\n")
    return folder


def write_probe(folder: Path, name: str, rows: list[dict]) -> None:
    """Writes the rows of a probe into a folder of probes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
