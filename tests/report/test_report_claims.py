"""Verdicts on claims, and the data of claims.yaml and results.yaml."""

from __future__ import annotations

import re
import runpy

import pytest
from conftest import ROOT
from run_folders import write_probe, write_run

from esr_cli.config import gate
from esr_cli.report.book import PAPER, open_book
from esr_cli.report.claims import judge, rule_of
from esr_cli.report.content import SHAPES
from esr_cli.report.measures import MEASURES
from esr_cli.report.number import over_plain_runs
from esr_cli.report.verdicts import (
    DOES_NOT,
    EQUIVALENT,
    NOISY,
    SHOWS,
    UNMEASURED,
    UNTESTABLE,
    Rule,
    kept,
    p_value,
    smallest,
    verdict,
)

CLAIMS = gate.read_yaml(PAPER / "claims.yaml")
RESULTS = gate.read_yaml(PAPER / "results.yaml")
ABOVE, BELOW = Rule("above", 0, 2), Rule("below", 1, 0.95)
INSIDE, AT_MOST = Rule(inside=(-2, 2)), Rule(at_most=2)


@pytest.mark.parametrize(
    ("value", "low", "high", "rule", "expected"),
    [
        (3, 1, 5, ABOVE, SHOWS),
        (2, -1, 5, ABOVE, NOISY),
        (3, 0, 5, ABOVE, NOISY),
        (-1, -5, 1.9, ABOVE, DOES_NOT),
        # The effect is certain, but smaller than the required one, or possibly smaller.
        (1.5, 0.5, 1.9, ABOVE, EQUIVALENT),
        (1, -2, 2, ABOVE, EQUIVALENT),
        (1, -2.1, 1.9, ABOVE, DOES_NOT),
        (1.5, 0.5, 2.5, ABOVE, NOISY),
        (-6, -9, -3, ABOVE, DOES_NOT),
        (9, float("-inf"), float("inf"), ABOVE, NOISY),
        (0.6, 0.3, 0.9, BELOW, SHOWS),
        (0.96, 0.93, 0.99, BELOW, NOISY),
        (1, 0.9, 1.1, BELOW, NOISY),
        (0.97, 0.96, 0.99, BELOW, EQUIVALENT),
        (1.3, 1.2, 1.4, BELOW, DOES_NOT),
        (0, -2, 2, INSIDE, SHOWS),
        (-1, -2.1, 0, INSIDE, NOISY),
        (5, 2.1, 9, INSIDE, DOES_NOT),
        # A certain loss is not a gain either.
        (-9, -12, -6, AT_MOST, SHOWS),
        (0, -3, 2, AT_MOST, SHOWS),
        (1, -1, 3, AT_MOST, NOISY),
        (4, 2.1, 6, AT_MOST, DOES_NOT),
    ],
)
def test_verdicts(value, low, high, rule, expected):
    assert verdict(value, low, high, rule) == expected


@pytest.mark.parametrize(
    ("low", "high", "rule", "room", "expected"),
    [
        # Full rollouts at 99 %: nothing can end 2 points above, whatever the interval.
        (-5, 1, ABOVE, 1, UNTESTABLE),
        (-1, 1, ABOVE, 1.9, UNTESTABLE),
        (-1, 1, ABOVE, 2, EQUIVALENT),
        # It can surely end below.
        (-9, -3, ABOVE, 1, DOES_NOT),
        (0.5, 5, ABOVE, 1, SHOWS),
        # A longer N cannot gain 2 points either, so that it gains less shows nothing.
        (-1, 1, AT_MOST, 1, UNTESTABLE),
        (-1, 1, AT_MOST, 5, SHOWS),
    ],
)
def test_a_ceiling_leaves_nothing_to_test(low, high, rule, room, expected):
    value = max(2, (low + high) / 2) if expected == SHOWS and rule is ABOVE else (low + high) / 2
    assert verdict(value, low, high, rule, room) == expected


def test_a_claim_must_also_be_shown_among_all():
    # Holm at 5 %: 0.05/4, then 0.05/3, 0.05/2; the third fails, and so does all after it.
    assert kept([0.016, None, 0.012, 0.03, 0.03], 4) == [True, False, True, False, False]
    assert kept([0.024], 2) == [True] and kept([0.024], 3) == [False]
    seeds = over_plain_runs([4.0, 5.0, 6.0])
    # t = 5 / (1/√3) with two degrees of freedom.
    assert p_value(seeds, ABOVE) == pytest.approx(0.5 - 0.5 * 8.660 / (2 + 75) ** 0.5, abs=1e-4)
    assert p_value(seeds, Rule("below", 0, -2)) == 1
    assert p_value(seeds, AT_MOST) == 1
    assert p_value(over_plain_runs([0.0]), ABOVE) == 1


def test_the_smallest_effect_that_could_be_shown_has_80_per_cent_power():
    seeds = over_plain_runs([4.0, 5.0, 6.0])
    error = 1 / 3**0.5
    # t of two degrees of freedom: 4.3027 at 97.5 % and 1.0607 at 80 %.
    assert smallest(seeds, ABOVE, 1) == pytest.approx((4.3027 + 1.0607) * error, rel=1e-3)
    assert smallest(seeds, AT_MOST, 1) == pytest.approx(2 - (4.3027 + 1.0607) * error, rel=1e-3)
    # Where the spread is small, the figure must still reach `least`.
    sure = over_plain_runs([4.99, 5.0, 5.01])
    assert smallest(sure, ABOVE, 1) == pytest.approx(2 + 1.0607 * error / 100, rel=1e-4)
    assert smallest(seeds, ABOVE, 50) > 3 * smallest(seeds, ABOVE, 1)
    assert smallest(over_plain_runs([1.0]), ABOVE, 1) is None


@pytest.mark.parametrize("claim", CLAIMS["claims"], ids=lambda claim: claim["id"])
def test_a_claim_has_a_measure_and_the_paper_s_figure_shows_it(claim):
    assert claim["measure"] in MEASURES
    for scale in CLAIMS["scales"].values():
        rule = rule_of(claim, scale)
        # The required effect lies on the claimed side.
        assert rule.inside or rule.at_most or (rule.least > rule.neutral) == (rule.side == "above")
    texts = claim["paper"].values() if isinstance(claim["paper"], dict) else [claim["paper"]]
    for text in texts:
        first = re.match(r"[+-]?\d+(\.\d+)?", text)
        if first and not rule_of(claim, CLAIMS["scales"]["paper"]).inside:
            value = float(first[0])
            # The paper gives this figure in nats, and we measure a share.
            if claim["id"] != "early_kl":
                rule = rule_of(claim, CLAIMS["scales"]["paper"])
                assert verdict(value, value, value, rule) == SHOWS


def test_the_figures_of_the_claims_are_in_results_yaml():
    results = (PAPER / "results.yaml").read_text()
    known = {float(number) for number in re.findall(r"\d+\.?\d*", results)}
    for claim in CLAIMS["claims"]:
        texts = claim["paper"].values() if isinstance(claim["paper"], dict) else [claim["paper"]]
        for text in [*texts, *claim.get("paper_of", {}).values()]:
            for pair in re.findall(r"(\d+\.\d\d) (?:against|to) (\d+\.\d\d)", text):
                assert {float(each) for each in pair} <= known, text
            gain = re.match(r"([+-]\d+\.\d+) points \((\d+\.\d+) against (\d+\.\d+)\)", text)
            if gain:
                assert float(gain[1]) == pytest.approx(float(gain[2]) - float(gain[3])), text


@pytest.mark.parametrize("name", RESULTS["tables"])
def test_a_table_of_the_paper_fits_its_columns(name):
    spec = RESULTS["tables"][name]
    assert spec["shape"] in SHAPES and spec["source"] and spec["title"]
    if spec["shape"] in ("steps", "decay", "cascade", "lengths", "commitment", "categories"):
        rows = spec["rows"].values()
        lists = [v for row in rows for v in (row.values() if isinstance(row, dict) else [row])]
        assert all(len(values) == len(spec["columns"]) for values in lists)
    if spec["shape"] == "arms":
        for pair in spec["rows"].values():
            assert all(len(values) <= len(spec["columns"]) for values in pair.values())


DECAY = [
    {"figure": "drop", "value": 0.1, "low": 0.05, "high": 0.15},
    {"figure": "trend", "value": 0.1, "low": 0.05, "high": 0.15},
    {"figure": "drop_against_control", "value": 0.1, "low": 0.05, "high": 0.15},
    {"figure": "steepest_rise", "value": 0.02, "low": -0.02, "high": 0.06},
]


@pytest.mark.parametrize(
    ("changed", "outcome", "why"),
    [
        ({}, SHOWS, ""),
        ({"steepest_rise": (0.3, 0.2, 0.4)}, DOES_NOT, "; but steepest rise above 0"),
        ({"drop_against_control": (0.0, -0.1, 0.1)}, NOISY, "drop against control not above 0"),
        ({"trend": (-0.2, -0.3, -0.1), "steepest_rise": None}, DOES_NOT, "but trend not above 0"),
        ({"steepest_rise": None}, NOISY, "but steepest rise not measured"),
    ],
)
def test_decay_needs_a_fall_everywhere_and_beyond_the_control(changed, outcome, why, tmp_path):
    write_run(tmp_path / "run", "+rollout_len=32", right={0: [[1]], 4: [[1]]})
    rows = {row["figure"]: row for row in DECAY}
    for figure, interval in changed.items():
        value, low, high = interval or (None, None, None)
        rows[figure] = {"figure": figure, "value": value, "low": low, "high": high}
    write_probe(tmp_path / "run" / "probes", "decay", list(rows.values()))
    [found] = [each for each in judge(open_book(tmp_path)) if each.id == "teacher_decay"]
    assert found.verdict == outcome and why in found.rule


def test_commitment_has_a_line_for_esr_and_one_for_full_rollouts(tmp_path):
    for n, after in ((32, 0.8), ("full", 0.7)):
        write_run(tmp_path / f"n{n}", f"+rollout_len={n}", right={0: [[1]], 4: [[1]]})
        rows = [{"figure": "top1_prob", "who": who, "value": value, "low": value, "high": value}
                for who, value in (("before", 0.7), ("after", after))]  # fmt: skip
        write_probe(tmp_path / f"n{n}" / "probes", "commitment", rows)
    found = [each for each in judge(open_book(tmp_path)) if each.id == "commitment_probability"]
    assert [(each.paper[:4], each.ours.split()[0], each.verdict) for each in found] == [
        ("+8 p", "+10.0", SHOWS), ("+6 p", "+0.0", EQUIVALENT)
    ]  # fmt: skip
    assert "ESR" in found[0].what and "full rollouts" in found[1].what


@pytest.fixture
def judged(tmp_path):
    right, wrong = [1, 1], [0, 0]
    for seed in range(3):
        for n, last in ((8, [wrong] * 40), (32, [right] * 40), ("full", [right] * 40)):
            seconds = 3 if n == "full" else 1
            write_run(tmp_path / f"n{n}-{seed}", f"+rollout_len={n}", f"seed={seed}",
                      seconds=seconds, right={0: [wrong] * 40, 4: last})  # fmt: skip
    probes = tmp_path / "n32-0" / "probes"
    write_probe(probes, "decay", DECAY)
    write_probe(probes, "cascade", [
        {"figure": "drop", "region": "trained", "value": 0.9, "low": 0.8, "high": 1.0},
        {"figure": "drop", "region": "untrained", "value": 0.02, "low": 0.0, "high": 0.04},
    ])  # fmt: skip
    write_probe(probes, "profile", [
        {"figure": "suggested_tokens", "who": "before", "value": 40, "low": None, "high": None},
        {"figure": "kl_in_first_tenth", "who": "before", "value": None},
    ])  # fmt: skip
    return {each.id: each for each in judge(open_book(tmp_path))}


def test_claims_are_judged_from_the_files(judged):
    verdicts = {name: judged[name].verdict for name in
                ("too_small", "teacher_decay", "cascade", "faster", "shorter")}  # fmt: skip
    assert verdicts == {"too_small": SHOWS, "teacher_decay": SHOWS, "cascade": EQUIVALENT,
                        "faster": SHOWS, "shorter": EQUIVALENT}  # fmt: skip
    assert judged["too_small"].ours.startswith("-100.0 points")
    assert judged["faster"].ours == "3.00 times [3.00, 3.00]"


def test_what_full_rollouts_solve_always_cannot_be_tested(judged):
    # With forty questions that all agree, a difference of some points remains possible; but full
    # rollouts are right in all of them.
    assert judged["better_last"].verdict == UNTESTABLE


def test_no_interval_is_too_noisy_and_a_null_value_is_not_measured(judged):
    assert judged["choosing_n"].verdict == NOISY and "no interval" in judged["choosing_n"].ours
    assert judged["early_kl"].verdict == UNMEASURED
    assert judged["position"].verdict == judged["lora"].verdict == UNMEASURED


def test_the_chance_of_a_false_claim_in_a_whole_report_is_small():
    measure = runpy.run_path(str(ROOT / "scripts" / "measure_false_shows.py"))["measure"]
    found = measure(40)
    # Judged alone, more than half of such reports show some claim by chance.
    assert found["alone"] > 0.4 and found["among all"] <= 0.075
