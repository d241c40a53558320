"""The analyses of `esr probe` on small arrays with answers computed by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from esr_cli.base.statistics import paired
from esr_cli.probe.analyses import cascade, categories, commitment, profile, samples, stability
from esr_cli.probe.analyses.reads import Read

NUMBERS = count()


def read(kl, tokens=None, prob=None, rank=None, question=None):
    """A read of a new question, unless `question` is given."""
    values = np.array(kl, dtype=float)
    one = np.ones_like(values)
    return Read(
        question=str(next(NUMBERS)) if question is None else question,
        tokens=tuple(tokens or ["x"] * len(values)),
        kl=values,
        student_entropy=one,
        teacher_entropy=2 * one,
        top1_prob=one if prob is None else np.array(prob, dtype=float),
        teacher_rank=one if rank is None else np.array(rank, dtype=float),
    )


def find(rows, figure, **fields):
    [row] = [
        r for r in rows if r["figure"] == figure and all(r.get(k) == v for k, v in fields.items())
    ]
    return row


def test_the_mean_at_a_position_is_over_responses_that_reach_it():
    rows = profile.rows([read([1, 2, 3]), read([3, np.nan]), read([2])], "before", 0.45)
    assert [r["value"] for r in rows if r["figure"] == "reverse_kl"] == [2, 2, 3]
    assert [r["value"] for r in rows if r["figure"] == "count"] == [3, 1, 1]
    assert find(rows, "teacher_entropy", at=2)["n"] == 2, "entropies are known where the KL is not"
    assert find(rows, "mean_length", who="before")["value"] == 2
    first = find(rows, "reverse_kl", at=1)
    assert first["low"] == pytest.approx(2 - 1.959964 / 3**0.5, abs=1e-6)


def test_duplicated_responses_do_not_narrow_intervals():
    """Four copies of each response carry no more information about the questions."""
    rng = np.random.default_rng(3)
    once = [read(rng.random(10), prob=rng.random(10), rank=rng.integers(1, 8, 10))
            for _ in range(20)]  # fmt: skip
    later = [replace(each, kl=each.kl / 2) for each in once]
    answers = []
    for times in (1, 4):
        reads, after = ([each for each in group for _ in range(times)] for group in (once, later))
        lengths = [[length] * times for length in range(5, 25)]
        answers.append([
            *profile.rows(reads, "before", 0.45),
            *cascade.rows(reads, after, after, (0, 4)),
            *commitment.rows(reads, {"before": lengths}, 0.1, (after, after)),
        ])  # fmt: skip
    for one, four in zip(*answers, strict=True):
        assert one["figure"] == four["figure"]
        for key in ("value", "low", "high"):
            if one["figure"] != "count" and one.get(key) is not None:
                assert four[key] == pytest.approx(one[key], abs=2e-6), (one, four)


def test_the_suggested_n_is_where_the_cumulative_kl_reaches_the_share():
    """Masses 4, 0, 1, 5: 40 %, 40 %, 50 %, 100 %."""
    reads = [read([3, 0, 1, 5]), read([1])]
    rows = profile.rows(reads, "before", 0.45)
    assert [r["value"] for r in rows if r["figure"] == "cumulative_kl"] == [0.4, 0.4, 0.5, 1.0]
    assert profile.suggested(rows) == 3
    assert profile.suggested(profile.rows(reads, "before", 0.4)) == 1
    assert profile.suggested(profile.rows(reads, "before", 1.0)) == 4


def test_front_loading_compares_tokens_before_and_after_a_position():
    """Means 3 (of 2 and 4) and 1.5 (of 1, 2 and 1.5); the missing token counts nowhere."""
    reads = [read([2, np.nan, 1, 2]), read([4]), read([3, 3, 1.5])]
    found = find(profile.rows(reads, "before", 0.45, 2), "front_loading")
    assert (found["value"], found["first"], found["n"]) == (2, 2, 3)
    assert found["low"] <= 2 <= found["high"]
    assert find(profile.rows(reads, "before", 0.45, 4), "front_loading")["value"] is None


def test_front_loading_takes_100_positions_or_the_suggested_n_of_short_responses():
    long = [read([3] * 100 + [1] * 50, question=str(q)) for q in range(9)]
    rows = profile.rows([*long, read([3] * 50)], "before", 0.45)
    found = find(rows, "front_loading")
    assert (found["value"], found["low"], found["high"], found["first"]) == (3, 3, 3, 100)
    headline = profile.headline(rows)
    assert "first 100 positions is 3.00 [3.00, 3.00] times that of the rest" in headline
    short = profile.rows([*long[1:], read([3] * 50), read([3] * 50)], "before", 0.45)
    assert find(short, "front_loading")["first"] == profile.suggested(short)


def test_identical_responses_give_intervals_of_width_zero():
    rows = profile.rows([read([2, 2, *[0.5] * 18]) for _ in range(30)], "after", 0.45)
    found = find(rows, "kl_in_first_tenth", who="after")
    assert found["value"] == found["low"] == found["high"] == pytest.approx(4 / 13, abs=1e-6)
    found = find(rows, "suggested_tokens", who="after")
    assert (found["value"], found["low"], found["high"]) == (6, 6, 6)


def test_identical_models_suggest_no_n():
    rows = profile.rows([read([0, 0]), read([0])], "before", 0.45)
    assert profile.suggested(rows) is None
    assert find(rows, "kl_in_first_tenth", who="before")["value"] is None
    assert "do not differ" in profile.headline(rows)


def test_drops_of_the_mean_kl_before_and_after_n():
    """Up to N the mean falls from 2 to 1; after N from 4 to 2, in half of the responses only."""
    before = [read([1, 3, 4, 4], question=q) for q in "abcd"]
    after = [read([1, 1, *[3 if q in "ab" else 1] * 2], question=q) for q in "abcd"]
    same_text = [read([1, 1, 4, 3], question=q) for q in "abcd"]
    rows = cascade.rows(before, after, same_text, (0, 2))
    trained = find(rows, "drop", region="trained")
    assert (trained["from"], trained["to"], trained["before"], trained["after"]) == (1, 2, 2, 1)
    assert trained["value"] == trained["low"] == trained["high"] == 0.5
    past = find(rows, "drop", region="untrained")
    assert (past["from"], past["to"], past["value"]) == (3, 4, 0.5)
    assert past["low"] < 0.5 < past["high"]
    # Past N, the trained student has nearly the KL of before on the text of before.
    kept = find(rows, "drop_same_text", region="untrained")
    assert (kept["before"], kept["after"], kept["value"]) == (4, 3.5, 0.125)
    assert "positions 3-4 of the same text fell by 12% [12%, 12%]" in cascade.headline(rows)


def test_full_rollouts_have_no_untrained_region_and_rare_long_responses_do_not_count():
    same = [read([1, 1])] * 20
    rows = cascade.rows(same, same, same, (0, 128))
    past = find(rows, "drop", region="untrained")
    assert past["value"] is None and past["why"] == "too few responses pass N"
    assert find(rows, "drop", region="trained")["to"] == 2
    rows = cascade.rows([*same, read([1] * 90)], same, same, (0, 1))
    assert find(rows, "drop", region="untrained")["to"] == 2


def test_a_change_of_length_alone_shows_no_drop():
    """The KL at each position is unchanged; a mean over tokens would fall by a third."""
    curve = [4, 3, 2, 2, 1, 1]
    before, after = ([read(curve[:n], question=str(q)) for q, n in enumerate(lengths)]
                     for lengths in ([2, 2, 2, 6], [6, 6, 6, 3]))  # fmt: skip
    for drop in cascade.rows(before, after, before, (0, 2))[-4:]:
        assert drop["value"] == drop["low"] == drop["high"] == 0
        if drop["figure"] == "drop" and drop["region"] == "untrained":
            assert (drop["tokens_before"], drop["tokens_after"]) == (4, 13)


def test_positions_before_a_window_are_a_region_of_their_own():
    before, after = ([read([kl] * 6, question=str(q)) for q in range(4)] for kl in (4, 1))
    drops = cascade.rows(before, after, after, (2, 4))[-3:]
    spans = [(each["region"], each["from"], each["to"]) for each in drops]
    assert spans == [("earlier", 1, 2), ("trained", 3, 4), ("untrained", 5, 6)]
    assert {each["value"] for each in drops} == {0.75}


def test_a_loss_that_may_train_anywhere_has_no_untrained_positions():
    rows = cascade.rows(*[[read([1, 1])]] * 3, None, "loss.select=top")
    assert find(rows, "drop")["value"] is None
    assert cascade.headline(rows) == "no drop: loss.select=top"


def test_commitment_uses_the_tenth_of_positions_with_the_highest_kl():
    """One of the ten positions with a KL is selected; the other nine have no effect."""
    reads = [
        read([0, 9, np.nan, 1, 1], prob=[0.1, 0.8, 0.9, 0.1, 0.1], rank=[1, 3, np.nan, 1, 1]),
        read([1] * 6, prob=[0.1] * 6),
    ]
    rows = commitment.rows(reads, {"before": [[5], [6]], "teacher": [[10]]}, 0.1)
    value = {r["figure"]: r["value"] for r in rows if r["who"] == "before"}
    assert value["top1_prob"] == 0.8 and value["in_teacher_top2_5"] == 1
    assert value["is_teacher_top1"] == value["outside_teacher_top5"] == 0
    assert value["top1_prob_everywhere"] == pytest.approx((0.8 + 9 * 0.1) / 10)
    assert value["length_mean"] == value["length_p50"] == 5.5
    assert find(rows, "length_p90", who="teacher")["value"] == 10


def test_the_bins_of_ranks_are_complete_and_disjoint():
    reads = [read([1] * 8, rank=[1, 2, 5, 6, 7, 1, 1, 100])]
    rows = commitment.rows(reads, {}, 1.0)
    shares = [find(rows, f)["value"] for f in commitment.RANKS]
    assert shares == [3 / 8, 2 / 8, 3 / 8]


def test_after_training_is_measured_at_the_positions_selected_before():
    """Before training the second token has the highest KL; in the new responses, the first."""
    before = [read([1, 9], prob=[0.9, 0.5], rank=[1, 7], question="q")]
    same = [read([8, 2], prob=[0.3, 0.8], rank=[7, 1], question="q")]
    own = [read([3, 1], prob=[0.6, 0.9], rank=[2, 1], question="q")]
    rows = commitment.rows(before, {}, 0.5, (same, own))
    value = {(r["figure"], r["who"]): r["value"] for r in rows}
    assert value["top1_prob", "before"] == 0.5 and value["top1_prob", "after"] == 0.8
    assert value["is_teacher_top1", "before"] == 0 and value["is_teacher_top1", "after"] == 1
    assert value["kl_least", "before"] == 9 and value["kl_least", "after"] == 2
    assert value["top1_prob_own", "after"] == 0.6 and value["kl_least_own", "after"] == 3
    assert value["in_teacher_top2_5_own", "after"] == 1 == 2 * value["top1_prob_own", "before"]


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("Step", "planning"), (" We", "planning"), (" step", "continuation"),
        (" 12", "math_number"), ("+", "math_operator"), (" =", "math_operator"),
        ("\\(", "math_latex"), (" \\[", "math_latex"), ("\\).", "math_latex"), ("}$", "math_latex"),
        (" $\\", "math_latex"), ("$$\n", "math_latex"), (" \\boxed{", "continuation"),
        ("\\frac", "continuation"), ("=\\", "continuation"), ("(\\", "continuation"),
        (" \\\\[", "continuation"), (" \\$", "continuation"), ("$x", "continuation"),
        ("\n\n", "structural"), (" .", "structural"), ("<eos>", "structural"),
        ("<|im_end|>", "structural"), (" <", "math_operator"), ("x2", "continuation"),
        ("\u00b2", "math_number"), (" \u00d7", "math_operator"),
    ],
)  # fmt: skip
def test_kinds_of_tokens(token, kind):
    assert categories.category(token) == kind


def test_categories_by_position_and_frequent_tokens():
    reads = [read([2, 4, *[0] * 3, 1], ["7", "7", "a", "a", "a", "7"])] * 2
    rows = categories.rows(reads, "before")
    first = find(rows, "reverse_kl", category="math_number", range="0-4")
    assert (first["value"], first["n"]) == (3, 4)
    assert find(rows, "reverse_kl", category="math_number", range="5-19")["value"] == 1
    tokens = [(r["token"], r["n"]) for r in rows if r["figure"] == "token_kl"]
    assert tokens == [("7", 6), ("a", 6)]
    assert not [r for r in categories.rows(reads[:1], "before") if r["figure"] == "token_kl"]
    often = [read([1] * 9, ["b"] * 9), read([1], ["c"])]
    assert not [r for r in categories.rows(often, "before") if r["figure"] == "token_kl"]


def test_intervals_of_categories_are_over_questions():
    """Two questions with KL 1 and KL 3; the number of responses has no effect."""
    reads = [read([kl] * 3, ["7"] * 3, question=q) for q, kl in (("a", 1), ("b", 3)) for _ in "123"]
    for figure in ("reverse_kl", "token_kl"):
        found = find(categories.rows(reads, "before"), figure)
        assert (found["value"], found["low"], found["high"]) == (2, 1, 3)


def evaluation(step, value):
    fields = {"step": step, "benchmark": "b", "low": value, "high": value, "n": 4}
    return [
        {**fields, "metric": "avg@1", "value": value},
        {**fields, "metric": "repeats", "value": 0},
    ]


def answers(step, right):
    return [
        {"step": step, "benchmark": "b", "id": str(i), "correct": [bool(r)], "responses": [str(r)]}
        for i, r in enumerate(right)
    ]


def test_the_fall_is_from_the_peak_to_the_lowest_after_it():
    evals = [
        row for at, v in ((0, 0.25), (1, 0.75), (2, 0.25), (3, 0.5)) for row in evaluation(at, v)
    ]
    made = [*answers(1, [1, 1, 1, 0]), *answers(2, [1, 0, 0, 0])]
    rows = stability.rows(evals, made)
    assert find(rows, "peak")["step"] == 1 and find(rows, "lowest_after_peak")["step"] == 2
    fall = find(rows, "fall")
    assert fall["value"] == 0.5 and fall["n"] == 4
    assert fall["high"] == pytest.approx(paired([1, 0, 0, 0], [1, 1, 1, 0])[2], abs=1e-5)
    assert find(rows, "repeats", at=3)["benchmark"] == "b"


def test_several_boxes_are_counted_for_benchmarks_with_boxed_answers():
    one, two = "\\boxed{1}", "\\boxed{1} or \\boxed{2}"
    fields = {"step": 3, "id": "q", "correct": [True, False]}
    made = [
        {**fields, "benchmark": "math", "responses": [one, two]},
        {**fields, "benchmark": "math", "responses": [two, two]},
        {**fields, "benchmark": "code", "responses": ["def f(): ...", ""]},
    ]
    [found] = [r for r in stability.rows([], made) if r["figure"] == "several_boxes"]
    assert (found["benchmark"], found["at"], found["value"], found["n"]) == ("math", 3, 0.75, 2)


def test_a_run_that_ends_at_its_peak_did_not_fall():
    rows = stability.rows(evaluation(0, 0.1) + evaluation(5, 0.9), [])
    assert find(rows, "fall")["value"] == 0 and find(rows, "lowest_after_peak")["step"] == 5


def test_a_token_that_was_not_compared_is_null():
    one = samples.Sample("q", "before", "p", "ab", ("a", "b"), np.array([0.5, np.nan]), True, "")
    assert samples.rows([one])[0]["kl"] == [0.5, None]
