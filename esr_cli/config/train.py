"""Settings of `esr train`."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from esr_cli.config.alarms import AlarmsConfig
from esr_cli.config.benchmark import BenchmarkConfig
from esr_cli.config.errors import need, need_choices, one_of
from esr_cli.config.evaluate import SANDBOXES, check_limit
from esr_cli.config.execution import ExecutionConfig
from esr_cli.config.lengths import LengthsConfig
from esr_cli.config.loss import LossConfig
from esr_cli.config.pair import NAME_MODEL, PairConfig
from esr_cli.config.rollout import RolloutConfig
from esr_cli.config.task import TaskConfig
from esr_cli.config.teacher import TeacherEngineConfig
from esr_cli.config.tracking import TrackingConfig
from esr_cli.config.tune import TuneConfig
from esr_cli.config.watch import WatchConfig

if TYPE_CHECKING:  # Python 3.10 has no Self
    from typing_extensions import Self

# The largest adapter that vLLM takes.
MOST_RANK = 512
# The settings and groups that do not affect the results of a run.
NO_DIFFERENCE = (
    "run_dir", "resume", "strict", "dry_run", "data_dir", "sandbox", "tracking", "execution",
    "alarms", "watch", "teacher.urls", "teacher.timeout_s", "teacher.patience_s",
    "teacher.in_flight", "teacher.tensor_parallel", "teacher.gpu_memory_utilization",
    "teacher.prompt_cache_gib",
    "rollout.tensor_parallel",
)  # fmt: skip
# What `pair.adapt` may change when a run begins; see `assembly.adapting`.
ADAPTED = ("benchmark", "pair.context_tokens", "pair.max_response_tokens")
# What a resumed run may be given anew, beside more `steps`.
FREE_ON_RESUME = (*NO_DIFFERENCE, "save_every", "keep_checkpoints")


@dataclass
class TrainConfig:
    """The top-level settings of a run, and one group for each of its parts.

    If `run_dir` is null, esr chooses the folder. `eval_every=0` evaluates only before and after
    training. Evaluations use the first `limit` questions of each benchmark, whose files are in
    `data_dir` (null: the environment variable ESR_DATA). `strict` raises an error, instead of a
    warning, if engine and trainer disagree on the log-probabilities of sampled tokens. `dry_run`
    prints what `esr check` does, and ends. With `benchmark=[]` nothing is evaluated.
    """

    pair: PairConfig = field(default_factory=PairConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    teacher: TeacherEngineConfig = field(default_factory=TeacherEngineConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    lengths: LengthsConfig = field(default_factory=LengthsConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    benchmark: dict[str, BenchmarkConfig] = field(default_factory=dict)
    wording: dict[str, str | None] = field(default_factory=dict)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    alarms: AlarmsConfig = field(default_factory=AlarmsConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    run_dir: str | None = None
    seed: int = 0
    steps: int = 200
    prompts_per_step: int = 16
    rollouts_per_prompt: int = 1
    eval_every: int = 0
    limit: int | None = None
    data_dir: str | None = None
    sandbox: str = one_of(SANDBOXES)
    save_every: int = 50
    keep_checkpoints: int = 2
    resume: str | None = None
    strict: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        unnamed = [role for role in ("student", "teacher") if not getattr(self.pair, role).path]
        keys = " and ".join(f"pair.{role}.path" for role in unnamed)
        need(not unnamed, keys, "", NAME_MODEL)
        for key in ("steps", "prompts_per_step", "rollouts_per_prompt", "save_every"):
            need(getattr(self, key) > 0, key, getattr(self, key), "give 1 or more")
        need(self.seed >= 0, "seed", self.seed, "give 0 or more")
        need(self.eval_every >= 0, "eval_every", self.eval_every, "give 0 (never) or more")
        need(self.keep_checkpoints > 0, "keep_checkpoints", self.keep_checkpoints, "give 1 or more")
        check_limit(self.limit)
        need_choices(self)  # those of a command that extends these settings, too
        stale, place = self.rollout.staleness, self.execution.engine
        need(
            not stale or place != "inline", "rollout.staleness", stale,
            f"prefetching rollouts needs execution=process or execution=ray, not {place}",
        )  # fmt: skip
        self.rollout.check_engines(self.execution.rollouts)
        self._check_teachers()
        several = self.execution.teachers
        need(
            several == 1 or self.teacher.engine != "server", "execution.teachers", several,
            "with teacher=server, give several teacher.urls",
        )  # fmt: skip
        weights, alone = self.rollout.weights, self.rollout.weights == "adapter"
        need(
            not alone or self.tune.method == "lora", "rollout.weights", weights,
            "full fine-tuning has no adapter; give merged, or tune=lora",
        )  # fmt: skip
        need(
            not alone or self.tune.rank <= MOST_RANK, "rollout.weights", weights,
            f"vLLM takes adapters of rank {MOST_RANK} at most; give merged",
        )  # fmt: skip
        trainers = self.execution.trainers
        need(
            self.tune.prompt_gradient or trainers == 1, "execution.trainers", trainers,
            "tune.prompt_gradient=false needs one trainer; give execution.trainers=1",
        )  # fmt: skip
        kind = self.loss.divergence
        need(
            not stale or kind != "policy_gradient", "rollout.staleness", stale,
            "loss.divergence=policy_gradient needs rollouts from the current weights",
        )  # fmt: skip
        limit = self.pair.context_tokens
        length = self.rollout_tokens
        need(length < limit, "rollout_len", length, f"stay below pair.context_tokens={limit}")

    def _check_teachers(self) -> None:
        by, named, made = self.teacher.by, self.pair.teachers, self.task.made
        remedy = "name the teachers: pair.teachers.NAME.path=MODEL"
        need(by is None or bool(named), "teacher.by", by, remedy)
        need(
            by is not None or not named, "pair.teachers", ", ".join(named),
            "teacher.by=FIELD says which field of a row names its teacher",
        )  # fmt: skip
        remedy = f"task={self.task.name} makes its problems and reads no rows; give another task"
        need(by is None or not made, "teacher.by", by, remedy)
        length, auto = self.rollout.max_tokens, self.auto_length
        remedy = "the probe that measures N asks one teacher; give a number of tokens, or full"
        need(by is None or not auto, "rollout_len", length, remedy)

    @property
    def placed(self) -> ExecutionConfig:
        """`execution`, with the number of teachers of all models together."""
        # Not `replace`: several models may compute inline, though one may not do so twice.
        placed = copy(self.execution)
        placed.teachers *= len(self.pair.all_teachers)
        return placed

    def of_teacher(self, name: str) -> Self:
        """The settings of a run whose only teacher is the one of that name."""
        pair = replace(self.pair, teacher=self.pair.all_teachers[name], teachers={})
        return replace(self, pair=pair, teacher=replace(self.teacher, by=None))

    @property
    def rollout_tokens(self) -> int:
        """N in tokens; for `full`, and as upper bound for `auto`, `pair.max_response_tokens`."""
        length = self.rollout.max_tokens
        return self.pair.max_response_tokens if length in ("full", "auto") else int(length)

    @property
    def auto_length(self) -> bool:
        """Whether N is measured before the run starts."""
        return self.rollout.max_tokens == "auto"
