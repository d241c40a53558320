"""Checks during training: engine and trainer hold the same student; the vocabularies overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from esr_cli.base.failures import Failure
from esr_cli.base.words import numbered
from esr_cli.config import TrainConfig

# Largest mean and maximal log-probability gap (nats) that rounding alone explains.
LIMITS = {"float32": (1e-4, 1e-3), "bfloat16": (0.05, 2.0)}


def comparable(config: TrainConfig) -> bool:
    """Whether engine and trainer compute log-probabilities of the same distribution.

    top_p and top_k renormalize the engine's and not the trainer's; dropout changes the trainer's.
    """
    truncated = config.rollout.top_p < 1 or config.rollout.top_k > 0
    return not truncated and not config.tune.dropout


class Gauge:
    """Compares the sampled tokens' log-probabilities between engine and trainer."""

    def __init__(self, dtype: str, strict: bool, warn: Callable[[str], None]) -> None:
        self.mean_limit, self.max_limit = LIMITS.get(dtype, LIMITS["bfloat16"])
        self.strict, self._warn, self._warned = strict, warn, set[int]()

    def check(self, gaps: Mapping[int, tuple[float, float]]) -> None:
        """Takes the mean and largest gap of each engine; see `Update.gaps`.

        Warns once for each engine above the limits; raises `Failure` instead if `strict`.
        """
        beyond = {
            replica: gap
            for replica, gap in gaps.items()
            if not (gap[0] <= self.mean_limit and gap[1] <= self.max_limit)
        }
        if not beyond:
            return
        replica, (mean, most) = max(beyond.items(), key=lambda each: each[1])
        # Of several engines, the one that disagrees is named.
        name = numbered("engine", replica)
        engine = f"{name} (of {len(gaps)})" if len(gaps) > 1 else name
        message = (
            f"{engine} and trainer disagree on the sampled tokens by {mean:.2g} nats on average "
            f"and {most:.2g} at most (limits {self.mean_limit:g}, {self.max_limit:g}): most likely "
            "the engine holds old weights, or samples at another temperature, top_p or top_k"
        )
        if self.strict:
            raise Failure(message)
        if replica not in self._warned:
            self._warn(message)
            self._warned.add(replica)


class OutsideCheck:
    """Checks how much probability either model puts outside the shared vocabulary."""

    def __init__(self, limit: float, warn: Callable[[str], None]) -> None:
        self.limit, self._warn, self._warned = limit, warn, False

    def check(self, metrics: dict[str, float]) -> None:
        """Warns once above the limit."""
        for role in ("student", "teacher"):
            share = metrics[f"align/{role}_outside"]
            if share > self.limit and not self._warned:
                self._warned = True
                self._warn(
                    f"the {role} puts {share:.1%} of its probability on tokens that the other "
                    f"lacks (align/{role}_outside, limit pair.outside_warn={self.limit:g}): the "
                    "loss cannot see which of them; it can with a pair of more similar tokenizers"
                )
