"""How task and benchmarks put their questions, and where evaluation differs from training."""

from __future__ import annotations

from esr_cli.config import BenchmarkConfig, TaskConfig, TrainConfig
from esr_cli.config.finding import Finding

Asks = TaskConfig | BenchmarkConfig


def forms(config: TrainConfig) -> Finding:
    """One line on the prompts of the task and of each benchmark."""
    named: dict[str, Asks] = {f"task {config.task.name}": config.task, **config.benchmark}
    text = "; ".join(f"{name}: {', '.join(_form(each))}" for name, each in named.items())
    other = differing(config)
    note = f"; other wording in evaluation than in training: {', '.join(other)}" if other else ""
    return Finding("ok", "prompts", text + note)


def differing(config: TrainConfig) -> list[str]:
    """The benchmarks that put their questions otherwise than the task does."""
    asked = _put(config.task)
    return [name for name, each in config.benchmark.items() if _put(each) != asked]


def _put(each: Asks) -> tuple[str | None, ...]:
    if isinstance(each, BenchmarkConfig) and each.prompt == "raw":
        return ("raw",)
    in_text = each.wording_in_text if each.tools_in == "text" else None
    return "chat", each.wording, each.system, in_text


def _form(each: Asks) -> list[str]:
    raw = isinstance(each, BenchmarkConfig) and each.prompt == "raw"
    parts = ["raw" if raw else "chat"]
    parts += ["system turn"] if each.system is not None else []
    parts += ["wording in the user turn"] if not raw and each.wording != "{problem}" else []
    kind = each.kind if isinstance(each, BenchmarkConfig) else each.name
    parts += [f"functions in the {each.tools_in}"] if kind == "tools" else []
    if isinstance(each, BenchmarkConfig):
        parts += [f"cut at {len(each.stop_texts)} stop texts"] if each.stop_texts else []
        parts += {"first": ["first box"], "marked": ["box, or number after ####"]}.get(each.box, [])
    return parts
