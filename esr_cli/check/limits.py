"""Context length, response lengths, and the positions that the loss selects."""

from __future__ import annotations

from contextlib import suppress
from statistics import median
from typing import Any

from esr_cli.assembly.objective import lengths_of
from esr_cli.base import files
from esr_cli.base.words import counted
from esr_cli.config import ConfigError, TrainConfig
from esr_cli.config.finding import Finding
from esr_cli.distill.lengths import Lengths
from esr_cli.probe import earlier
from esr_cli.probe.analyses import profile
from esr_cli.types import Prompt


def context(config: TrainConfig, shapes: dict[str, Any], prompts: list[Prompt]) -> list[Finding]:
    """Compares the context length of both models with what the run needs."""
    limit, findings = config.pair.context_tokens, []
    for role, shape in shapes.items():
        model_limit = getattr(shape, "max_position_embeddings", None)
        if model_limit and model_limit < limit:
            text = f"pair.context_tokens={limit}: the {role} supports at most {model_limit}"
            findings.append(Finding("error", "context", text, f"lower it to {model_limit}"))
    lengths = [prompt.longest for prompt in prompts]
    response = max(lengths_of(config).longest, config.pair.max_response_tokens)
    text = (
        f"{limit:,} tokens: prompts of {median(lengths):.0f} (the first {len(lengths)}: at most "
        f"{max(lengths)}), responses of up to {response:,}"
    )
    if max(lengths) + response > limit:
        text = (
            f"pair.context_tokens={limit}: prompts of {counted(max(lengths), 'token')} leave no "
            f"room for {response}"
        )
        remedy = "lower rollout_len or pair.max_response_tokens"
        return [*findings, Finding("error", "context", text, remedy)]
    return findings or [Finding("ok", "context", text)]


def positions(config: TrainConfig, longest: int) -> list[Finding]:
    """How many positions `loss.select` keeps of a response of at most `longest` tokens."""
    loss = config.loss
    if loss.select == "window":
        if loss.window_start >= longest:
            text = f"loss.window_start={loss.window_start}: no response is longer than {longest}"
            return [Finding("error", "positions", text, "lower it, or give +rollout_len=full")]
        kept = (longest if loss.window_end is None else loss.window_end) - loss.window_start
    elif loss.select in ("top", "random", "last", "middle"):
        kept = loss.keep_tokens
    else:
        return []
    text = f"{min(kept, longest)} of up to {longest} response tokens are trained on ({loss.select})"
    if kept >= longest:
        remedy = "keep fewer, or give +rollout_len=full"
        return [Finding("warning", "positions", f"{text}: all of them", remedy)]
    return [Finding("ok", "positions", text)]


def lengths(config: TrainConfig, planned: Lengths) -> list[Finding]:
    """N, its schedule, and the share of full rollouts in a mixture."""
    full = config.pair.max_response_tokens
    if config.auto_length:
        text = f"auto: N will be measured before the run starts, at most {full:,}"
        return [Finding("ok", "rollout length", text)]
    first, last = planned.n_at(0), planned.n_at(config.steps - 1)
    text = f"N={first}" if first == last else f"N={first} at first, {last} at last"
    text += f" of at most {full:,} response tokens ({last / full:.0%})"
    if planned.full_share:
        text += f"; {planned.full_share:.1%} of the {planned.full_in} run to {full:,}"
    if planned.schedule == "random":
        text += f"; each response draws from 1 to {min(2 * planned.n - 1, full)}"
    if last >= full:
        return [
            Finding("warning", "rollout length", f"{text}: full rollouts", "a shorter N is ESR")
        ]
    return [Finding("ok", "rollout length", text)]


def against_teacher(config: TrainConfig, planned: Lengths) -> list[Finding]:
    """Compares N with the length of the teacher's own responses in an earlier profile.

    Nothing is said of full rollouts, of `auto`, which heeds it, and of teachers that are not asked:
    several, or one on vLLM or behind servers.
    """
    n, topic = planned.n_at(config.steps - 1), "teacher's length"
    asked = config.teacher.engine == "local" and not config.pair.teachers
    if n >= planned.full or config.auto_length or not asked:
        return []
    place, length = None, None
    with suppress(ConfigError):  # one that cannot be read
        if place := earlier.find(config):
            length = profile.teacher_length(files.read_rows(place / "profile.jsonl"))
    if place is None or length is None:
        text = "not known, so not compared with N; esr probe source=task measures it"
        return [Finding("ok", topic, text)]
    if n >= length:
        return [Finding("ok", topic, f"a median of {length} tokens, at most N={n}")]
    text = (
        f"N={n} is below the median of the teacher's own responses, {length} tokens "
        f"({place / 'profile.jsonl'})"
    )
    if planned.full_share:
        return [Finding("ok", topic, f"{text}; some rollouts run to their end")]
    text += (
        ": most rollouts show no end; in short runs of a small pair at such N the KL within N fell "
        "while whole responses stopped ending and repeated themselves"
    )
    remedy = f"heed the watch (watch.jsonl), or give rollout_len={length} or lengths=mixture"
    return [Finding("warning", topic, text, remedy)]


def staleness(config: TrainConfig) -> list[Finding]:
    """A warning if rollouts cannot lag as far as asked, as none lags across a step that is due."""
    stale = config.rollout.staleness
    every = {"save_every": config.save_every, "eval_every": config.eval_every}
    key, steps = min(((k, n) for k, n in every.items() if n), key=lambda each: each[1])
    if not stale or steps > stale:
        return []
    text = f"rollout.staleness={stale}: with {key}={steps} no rollout lags more than {steps - 1}"
    return [Finding("warning", "staleness", text, f"raise {key}")]
