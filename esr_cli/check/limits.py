"""Room in the context, and N against the data."""

from __future__ import annotations

from statistics import median
from typing import Any

from esr_cli.assembly.objective import lengths_of
from esr_cli.config import TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.distill.lengths import Lengths
from esr_cli.types import Prompt


def context(config: TrainConfig, shapes: dict[str, Any], prompts: list[Prompt]) -> list[Finding]:
    """The context of both models against what a run needs of it."""
    limit, findings = config.pair.context_tokens, []
    for role, shape in shapes.items():
        own = getattr(shape, "max_position_embeddings", None)
        if own and own < limit:
            said = f"pair.context_tokens={limit}: the {role} was made for {own}"
            findings.append(Finding("error", "context", said, f"lower it to {own}"))
    lengths = [max(len(p.student_ids), len(p.teacher_ids)) for p in prompts]
    response = max(lengths_of(config).longest, config.pair.max_response_tokens)
    said = (
        f"{limit:,} tokens: prompts of {median(lengths):.0f} (the first {len(lengths)}: at most "
        f"{max(lengths)}), responses of up to {response:,}"
    )
    if max(lengths) + response > limit:
        said = (
            f"pair.context_tokens={limit}: prompts of {max(lengths)} tokens leave no room for "
            f"{response}"
        )
        remedy = "lower rollout_len or pair.max_response_tokens"
        return [*findings, Finding("error", "context", said, remedy)]
    return findings or [Finding("ok", "context", said)]


def positions(config: TrainConfig, longest: int) -> list[Finding]:
    """What `loss.select` leaves of responses of at most `longest` tokens."""
    loss = config.loss
    if loss.select == "window":
        if loss.window_start >= longest:
            said = f"loss.window_start={loss.window_start}: no response is longer than {longest}"
            return [Finding("error", "positions", said, "lower it, or give +rollout_len=full")]
        kept = (longest if loss.window_end is None else loss.window_end) - loss.window_start
    elif loss.select in ("top", "random"):
        kept = loss.keep_tokens
    else:
        return []
    said = f"{min(kept, longest)} of up to {longest} tokens of a response count ({loss.select})"
    if kept >= longest:
        remedy = "keep fewer, or give +rollout_len=full"
        return [Finding("warning", "positions", f"{said}: all of them", remedy)]
    return [Finding("ok", "positions", said)]


def lengths(config: TrainConfig, planned: Lengths) -> list[Finding]:
    """N, how it moves, and what a mixture makes of it."""
    full = config.pair.max_response_tokens
    if config.auto_length:
        said = f"auto: N will be measured before the run starts, at most {full:,}"
        return [Finding("ok", "rollout length", said)]
    first, last = planned.n_at(0), planned.n_at(config.steps - 1)
    said = f"N={first}" if first == last else f"N={first} at first, {last} at last"
    said += f" of at most {full:,} response tokens ({last / full:.0%})"
    if planned.full_share:
        said += f"; {planned.full_share:.1%} of the responses run to {full:,}"
    if last >= full:
        return [
            Finding("warning", "rollout length", f"{said}: full rollouts", "a shorter N is ESR")
        ]
    return [Finding("ok", "rollout length", said)]
