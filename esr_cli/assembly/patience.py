"""Time limits of calls to the engine and the teacher: generous, and growing with what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from esr_cli.config import ExecutionConfig, ModelConfig
from esr_cli.execution.watch import Patience
from esr_cli.models import loading
from esr_cli.models.shapes import weight_bytes
from esr_cli.types import Prompt, Rollout, Sampling

# Seconds that a call may take, whatever it asks. The start loads, and may compile.
START_S, CALL_S = 1800.0, 900.0
# Further seconds for a billion parameters: to read from a slow disk, and to copy.
LOAD_S, COPY_S = 600.0, 60.0
# Further seconds for a token: of any model, and of a model with a billion parameters. Several times
# what one response at a time takes on a laptop and on a small GPU.
TOKEN_S = 0.02
# An update reads a token forward, backward, and perhaps forward again.
UPDATE_FACTOR = 4
TOKEN_AND_BILLION_S = {"cpu": 4.0, "cuda": 0.1}
# Calls in which a rank copies its trained weights and the state of the optimizer.
OF_STATE = ("tensors", "write_shards", "load_tensors", "restore", "complete", "factors")


@dataclass(frozen=True)
class Limits:
    """The time limit of each call to a model of `billions` parameters on `device`."""

    billions: float
    device: str
    factor: float

    def __call__(self, method: str, arguments: tuple[Any, ...]) -> float:
        """The limit in seconds; see `Patience`."""
        return self.factor * self._limit_s(method, arguments)

    def _limit_s(self, method: str, arguments: tuple[Any, ...]) -> float:
        if method in ("start", "join"):
            return START_S + LOAD_S * self.billions
        if method in ("load_weights", "load_again", "weights", "hand_over", *OF_STATE):
            return CALL_S + COPY_S * self.billions
        tokens = 0
        if method == "generate":
            tokens = sum(_sampled(*batch) for batch in arguments[0])
        elif method == "score":
            tokens = _scored(*arguments)
        elif method == "update":
            tokens = UPDATE_FACTOR * _scored(arguments[0])
        a_token = TOKEN_S + TOKEN_AND_BILLION_S[self.device.partition(":")[0]] * self.billions
        return CALL_S + a_token * tokens


def patience(execution: ExecutionConfig, model: ModelConfig, device: str) -> Patience:
    """The patience with a worker that holds the model on that device."""
    shape = loading.load_shape(model.path, model.revision, model.trust_remote_code)
    billions = weight_bytes(shape, 1) / 1e9
    limits = Limits(billions, loading.pick_device(device), execution.patience)
    return Patience(execution.silence_s, limits)


def _sampled(prompts: Sequence[Prompt], sampling: Sampling) -> int:
    """Tokens of all prompts and of the longest responses that may be sampled."""
    limits = sampling.limits(len(prompts) * sampling.samples)
    return sum(limits) + sum(len(each.student_ids) for each in prompts)


def _scored(rollouts: Sequence[Rollout]) -> int:
    return sum(len(each.prompt.teacher_ids) + len(each.response_ids) for each in rollouts)
