"""Accuracy on held-out problems, through an engine that already runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from esr_cli.graders.lab import grade
from esr_cli.graders.statistics import mean_interval
from esr_cli.types import Engine, Prompt, Sampling


@dataclass(frozen=True)
class Evaluation:
    """One row for `eval.jsonl`, and the responses behind it."""

    row: dict[str, Any]
    responses: list[dict[str, Any]]


def evaluate(
    engine: Engine, prompts: list[Prompt], sampling: Sampling, tokenizer: Any, benchmark: str
) -> Evaluation:
    """avg@k over `prompts` with its 95 % interval (standard error over questions)."""
    rollouts = engine.generate(prompts, sampling)
    responses: list[dict[str, Any]] = []
    right: dict[str, list[bool]] = {prompt.id: [] for prompt in prompts}
    for rollout in rollouts:
        text = tokenizer.decode(rollout.response_ids, skip_special_tokens=True)
        verdict = grade(text, rollout.prompt.reference)
        right[rollout.prompt.id].append(verdict.correct)
        row = {"id": rollout.prompt.id, "prompt": rollout.prompt.text, "response": text}
        responses.append(row | {"correct": verdict.correct, "reason": verdict.reason})
    mean, low, high = mean_interval([sum(votes) / len(votes) for votes in right.values()])
    row = {
        "step": sampling.step,
        "benchmark": benchmark,
        "metric": f"avg@{sampling.samples}",
        "value": mean,
        "low": low,
        "high": high,
        "n": len(prompts),
    }
    return Evaluation(row, responses)
