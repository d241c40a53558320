"""Measures the chance that a report shows any claim of the paper where none is true, by simulation.

Every claim of claims.yaml is judged by its own rule at figures whose true value is the neutral one
(or the limit, for a claim that nothing is gained): as often as in the reproduction, over seeds (or
students) that differ much, so that the required effect is often reached by chance. Beside the rule
with Holm's correction stands the chance without it.

    python scripts/measure_false_shows.py --record docs/results/false_shows.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from esr_cli.base.seeds import over_seeds
from esr_cli.base.statistics import mean_difference
from esr_cli.config import gate
from esr_cli.report.book import PAPER
from esr_cli.report.claims import Judged, among_all, rule_of
from esr_cli.report.number import Number, number, over_plain_runs, over_runs, paired_ratio, ratio
from esr_cli.report.verdicts import SHOWS, Rule, verdict

# Lines per claim; the reproduction of 2026-11-26 had 52 lines for 19 claims.
LINES = 3
QUESTIONS = 512


def null(rng: np.random.Generator, claim: dict[str, Any], rule: Rule, seeds: int) -> Number:
    """A figure of the claim's kind whose true value does not support the claim, in its unit."""
    if claim["measure"] in ("difference", "fall_difference", "change"):
        limit = (rule.at_most or 0) / 100
        effect = rng.normal(limit, 0.1, (seeds, 1))
        signs = rng.choice([-1, 0, 1], (seeds, QUESTIONS), p=[0.1, 0.8, 0.1])
        moved = np.where(rng.random(signs.shape) < abs(effect), np.sign(effect), signs)
        # A replaced answer removes what was there, whose mean is zero.
        return number(over_seeds(moved.tolist(), mean_difference)).scaled(100)
    if claim["measure"] == "length_ratio":
        sides = (np.exp(rng.normal(0, 0.2, seeds)).tolist() for _ in range(2))
        return _need(paired_ratio(*sides))
    if claim["measure"].endswith("ratio"):
        runs = (over_plain_runs(np.exp(rng.normal(0, 0.2, seeds)).tolist()) for _ in range(2))
        return _need(ratio(*map(_need, runs)))
    edge = rule.inside[1] if rule.inside else rule.neutral
    unit = rule.effect or 0.1 * edge
    values = edge + unit * (rng.normal(0, 1, seeds) + rng.normal())
    return over_runs([(each, each - 1.96 * unit, each + 1.96 * unit) for each in values])


def report(rng: np.random.Generator, claims: list[dict[str, Any]], scale: dict[str, Any],
           seeds: int) -> list[Judged]:  # fmt: skip
    """The lines of one simulated report, each judged alone."""
    found = []
    for claim in claims:
        rule = rule_of(claim, scale)
        for _ in range(LINES):
            each = null(rng, claim, rule, seeds)
            alone = verdict(each.value, each.low, each.high, rule)
            found.append(Judged(claim["id"], "", "", "", "", "", alone, each, asked=rule,
                                unit=claim["unit"]))  # fmt: skip
    return found


def measure(repeats: int, seeds: int = 3) -> dict[str, float]:
    """The share of simulated reports that show any claim, alone and among all."""
    rules = gate.read_yaml(PAPER / "claims.yaml")
    rng = np.random.default_rng(seeds)
    alone = family = 0
    for _ in range(repeats):
        lines = report(rng, rules["claims"], rules["scales"]["lab"], seeds)
        alone += any(each.verdict == SHOWS for each in lines)
        family += any(each.verdict == SHOWS for each in among_all(lines))
    return {"lines": LINES * len(rules["claims"]), "seeds": seeds, "repeats": repeats,
            "alone": alone / repeats, "among all": family / repeats}  # fmt: skip


def _need(found: Number | None) -> Number:
    assert found
    return replace(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--record", type=Path)
    asked = parser.parse_args()
    rows = [measure(asked.repeats, seeds) for seeds in (3, 6, 16)]
    for row in rows:
        print(f"{row['lines']:.0f} lines over {row['seeds']:.0f} seeds, any false `shows`: "
              f"{row['alone']:.1%} if judged alone, {row['among all']:.1%} among all")  # fmt: skip
    if asked.record:
        asked.record.parent.mkdir(parents=True, exist_ok=True)
        found = {"command": f"python scripts/measure_false_shows.py --record {asked.record}",
                 "rows": rows}  # fmt: skip
        asked.record.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
