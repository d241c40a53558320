"""Settings of `esr eval` and `esr compare`."""

from __future__ import annotations

from dataclasses import dataclass, field

from esr_cli.config.benchmark import BenchmarkConfig
from esr_cli.config.errors import need, need_choices, one_of
from esr_cli.config.execution import ExecutionConfig
from esr_cli.config.rollout import RolloutConfig

SANDBOXES = ("bubblewrap", "none")


@dataclass
class EvalConfig:
    """Evaluates a `model` (folder or hub id), a `run` (its student, or with `checkpoints=all` every
    checkpoint that it kept), or `generations`, a file of responses from elsewhere.

    `limit` evaluates only the first `limit` questions of each benchmark. If `run_dir` is null, esr
    chooses the folder. `data_dir` defaults to the environment variable ESR_DATA, `context_tokens`
    to the model's context length. `system`, `thinking` and `split_special_tokens` are as in
    `ModelConfig`; a run uses its own, and its own engine and `data_dir` unless they are typed.
    `trust_remote_code` runs the code that comes with the model.
    """

    benchmark: dict[str, BenchmarkConfig] = field(default_factory=dict)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    wording: dict[str, str | None] = field(default_factory=dict)
    model: str | None = None
    revision: str | None = None
    system: str | None = None
    thinking: bool = False
    trust_remote_code: bool = False
    split_special_tokens: bool = True
    run: str | None = None
    checkpoints: str = one_of(("last", "all"))
    generations: str | None = None
    run_dir: str | None = None
    limit: int | None = None
    data_dir: str | None = None
    seed: int = 0
    dtype: str = one_of(("auto", "float32", "bfloat16"))
    context_tokens: int | None = None
    sandbox: str = one_of(SANDBOXES)

    def __post_init__(self) -> None:
        given = [key for key in ("model", "run", "generations") if getattr(self, key)]
        if len(given) != 1:
            settings = " ".join(f"{key}={getattr(self, key)}" for key in given) or "model=null"
            key, value = settings.split("=", 1)
            need(False, key, value, "give one of model=PATH, run=RUN_DIR, generations=FILE")
        for key, default in (("system", None), ("thinking", False), ("split_special_tokens", True)):
            value = getattr(self, key)
            given_alone = value != default and not self.model
            need(not given_alone, key, value, "goes with model= only; leave it out")
        need_choices(self)
        need(bool(self.benchmark), "benchmark", "[]", "name at least one")
        check_limit(self.limit)
        self.rollout.check_engines(self.execution.rollouts)
        need(self.seed >= 0, "seed", self.seed, "give 0 or more")
        context = self.context_tokens
        need(context is None or context > 1, "context_tokens", context, "give 2 or more")


def check_limit(limit: int | None) -> None:
    """Checks the number of questions of `esr eval` and `esr train`; raises `ConfigError`."""
    need(limit is None or limit > 0, "limit", limit, "give 1 or more, or null for all")


COMPARE_FORMATS = ("text", "markdown", "latex")


@dataclass
class CompareConfig:
    """Folders with graded responses: `a` and `b`, or `runs`, a list of two or more of which each is
    compared with `baseline` (null: the first). `step` chooses the evaluation of all of them,
    `a_step` and `b_step` that of one (null: its last).

    Runs are compared as the models that they are. Folders of runs, each with several seeds of one
    training, are compared with seeds as the unit. `format` is text for the terminal, or a table
    in markdown or latex.
    """

    a: str = ""
    b: str = ""
    runs: list[str] = field(default_factory=list)
    baseline: str | None = None
    step: int | None = None
    a_step: int | None = None
    b_step: int | None = None
    format: str = one_of(COMPARE_FORMATS)

    def __post_init__(self) -> None:
        need_choices(self)
        for key in ("step", "a_step", "b_step"):
            step = getattr(self, key)
            need(step is None or step >= 0, key, step, "give 0 or more, or null")
        if self.runs:
            for key in ("a", "b", "a_step", "b_step"):
                value = getattr(self, key)
                need(value in ("", None), key, value, "leave it out, or give it without runs")
            return
        need(self.baseline is None, "baseline", self.baseline, "give it with runs=[A,B,…]")
        for key in ("a", "b"):
            remedy = (
                "name a folder of a run, or of runs that differ in the seed; or give runs=[A,B,…]"
            )
            need(bool(getattr(self, key)), key, getattr(self, key), remedy)
