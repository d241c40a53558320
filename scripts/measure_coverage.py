"""Measures how often 95 % intervals hold the true value, by simulation with fixed seeds.

Each setting draws results whose true value is known and counts the intervals that hold it: 95 ± 2 %
are wanted. A setting marked `conservative` may hold it more often. Where hardly any answer differs,
the count is a small whole number, so no rule hits 95 %, and a kind of question that was not drawn
cannot be excluded. Seeds that do not differ are not known not to.

    python scripts/measure_coverage.py                  # the table, half a minute on one core
    python scripts/measure_coverage.py --record docs/results/coverage.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from esr_cli.base.seeds import over_seeds
from esr_cli.base.statistics import mean_difference, mean_interval
from esr_cli.report.number import over_plain_runs, paired_ratio, ratio

# One simulated result: the bounds of its interval, and the true value.
Draw = tuple[float, float, float]
REPEATS = 2000


@dataclass(frozen=True)
class Setting:
    """A situation whose intervals are measured; `draw` simulates one result."""

    name: str
    draw: Callable[[np.random.Generator], Draw]
    conservative: bool = False

    def coverage(self, repeats: int) -> float:
        """The share of intervals that hold the true value; the same at every call."""
        rng = np.random.default_rng(len(self.name))
        drawn = (self.draw(rng) for _ in range(repeats))
        return sum(low - 1e-12 <= true <= high + 1e-12 for low, high, true in drawn) / repeats


def share(rng: np.random.Generator, p: float, n: int, samples: int, alike: float) -> Draw:
    """Accuracy of one model: beta-binomial questions whose samples have the correlation `alike`."""
    if alike == 1:
        shares = (rng.random(n) < p).astype(float)
    else:
        scale = 1 / alike - 1
        shares = rng.binomial(samples, rng.beta(p * scale, (1 - p) * scale, n)) / samples
    _, low, high = mean_interval(shares.tolist(), samples)
    return low, high, p


def pair(rng: np.random.Generator, better: float, worse: float, n: int) -> Draw:
    """A paired difference: one answer of each of two models a question."""
    uniform = rng.random(n)
    signs = (uniform < better) * 1.0 - (uniform > 1 - worse)
    _, low, high = mean_difference(signs.tolist())
    return low, high, better - worse


def seeds(rng: np.random.Generator, count: int, n: int, spread: float) -> Draw:
    """Accuracy over seeds, whose true accuracies differ by a normal `spread`."""
    difficulty = rng.uniform(0.25, 0.75, n)
    right = rng.random((count, n)) < difficulty + _effects(rng, count, spread)
    found = over_seeds((right * 1.0).tolist(), partial(mean_interval, samples=count))
    return found.low, found.high, 0.5


def seed_pairs(rng: np.random.Generator, count: int, n: int, spread: float) -> Draw:
    """A difference of two trainings over shared seeds and questions: 0, with a `spread` by seed."""
    difficulty = rng.uniform(0.25, 0.75, n)
    after = rng.random((count, n)) < difficulty + _effects(rng, count, spread)
    before = rng.random((count, n)) < difficulty
    found = over_seeds((after * 1.0 - before).tolist(), mean_difference)
    return found.low, found.high, 0.0


def agreeing(rng: np.random.Generator, count: int, p: float) -> Draw:
    """Accuracy over seeds that all answer each of 128 questions alike."""
    right = ((rng.random(128) < p) * 1.0).tolist()
    found = over_seeds([right] * count, partial(mean_interval, samples=count))
    return found.low, found.high, p


def seconds(rng: np.random.Generator, count: int) -> Draw:
    """Ratio of times of two conditions whose runs differ by 10 %, with autocorrelated steps."""
    sides = [over_plain_runs([_seconds(rng, mean) for _ in range(count)]) for mean in (2.0, 1.0)]
    assert sides[0] and sides[1]
    found = ratio(sides[0], sides[1])
    return (found.low, found.high, 2.0) if found else (0.0, 0.0, 2.0)


def lengths(rng: np.random.Generator, count: int) -> Draw:
    """Ratio of mean response lengths on the same 128 questions, over seeds that both have."""
    questions = rng.lognormal(0, 0.3, 128)
    means = []
    for mean in (0.5, 1.0):
        tokens = mean * questions * rng.lognormal(0, 0.3, (count, 128))
        means.append((tokens * np.exp(rng.normal(0, 0.05, (count, 1)))).mean(1).tolist())
    found = paired_ratio(*means)
    return (found.low, found.high, 0.5) if found else (0.0, 0.0, 0.5)


def settings() -> Iterator[Setting]:
    """Every setting of the table."""
    for p in (0.001, 0.02, 0.3, 0.9, 0.999):
        for n, samples, alike in ((128, 4, 1), (128, 4, 0.5), (512, 1, 1)):
            rare = min(p, 1 - p) * n < 5
            yield Setting(f"share {p:g}, {n} questions x {samples}, correlation {alike:g}",
                          partial(share, p=p, n=n, samples=samples, alike=alike), rare)  # fmt: skip
    for better, worse in ((0.0, 0.004), (0.02, 0.02), (0.1, 0.05), (0.6, 0.1)):
        for n in (128, 512):
            rare = (better + worse) * n < 10
            yield Setting(f"paired difference +{better:g} -{worse:g}, {n} questions",
                          partial(pair, better=better, worse=worse, n=n), rare)  # fmt: skip
    for count in (3, 5, 11, 16):
        for spread in (0.0, 0.05, 0.1):
            for name, draw in (("share", seeds), ("difference", seed_pairs)):
                wide = spread == 0
                yield Setting(f"{name} over {count} seeds of spread {spread:g}, 512 questions",
                              partial(draw, count=count, n=512, spread=spread), wide)  # fmt: skip
        for p in (0.7, 0.999):
            yield Setting(f"share {p:g} over {count} seeds that agree, 128 questions",
                          partial(agreeing, count=count, p=p), p > 0.9)  # fmt: skip
        yield Setting(f"ratio of times over {count} runs", partial(seconds, count=count))
        yield Setting(f"ratio of lengths over {count} seeds", partial(lengths, count=count))


def _effects(rng: np.random.Generator, count: int, spread: float) -> np.ndarray:
    return np.clip(rng.normal(0, spread, (count, 1)), -0.25, 0.25)


def _seconds(rng: np.random.Generator, mean: float) -> float:
    """The median of 40 steps, each of which resembles the one before it."""
    steps, noise = np.empty(40), 0.0
    for at in range(40):
        noise = 0.9 * noise + rng.normal(0, 0.05)
        steps[at] = mean * math.exp(noise)
    return float(np.median(steps) * math.exp(rng.normal(0, 0.1)))


def measure(repeats: int) -> list[dict[str, object]]:
    """One row per setting: its name, coverage in per cent, and whether it may be conservative."""
    return [
        {"setting": each.name, "coverage": round(100 * each.coverage(repeats), 1),
         "conservative": each.conservative} for each in settings()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--record", type=Path)
    asked = parser.parse_args()
    rows = measure(asked.repeats)
    for row in rows:
        note = "  may be conservative" if row["conservative"] else ""
        print(f"{row['coverage']:5.1f} %  {row['setting']}{note}", flush=True)
    if asked.record:
        asked.record.parent.mkdir(parents=True, exist_ok=True)
        found = {"command": f"python scripts/measure_coverage.py --record {asked.record}",
                 "repeats": asked.repeats, "rows": rows}  # fmt: skip
        asked.record.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
