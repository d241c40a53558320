"""The decay probe: prefixes that the teacher continues, the drop, and the ladder of k."""

from __future__ import annotations

import pytest
from conftest import esr, read, rows, value
from test_probe_command import PROBE
from test_probes import find

from esr_cli.assembly import pairing
from esr_cli.base.statistics import paired
from esr_cli.config import ModelConfig, PairConfig, ProbeCommandConfig, ProbeConfig
from esr_cli.graders import lab
from esr_cli.graders.plain import PlainGrader
from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models.spelling import Spelling
from esr_cli.probe import continuation, plan, prefixes
from esr_cli.probe.analyses import decay, decline
from esr_cli.probe.material import Material


def test_a_teacher_equal_to_the_student_completes_its_responses(tmp_path):
    """With greedy decoding, no token is lost or doubled between prefix and completion."""
    done = esr(
        *PROBE, "pair.teacher.path=esr:student", "benchmark.lab.temperature=0", "samples=1",
        "prompts=12", "probe=[decay,profile]", "probe.decay.at=[0,1,5,40,81]",
        "probe.decay.mirror=true", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs" / "lab").iterdir()
    found = rows(folder, "decay.jsonl")
    shares = [r["value"] for r in found if r["figure"] == "accuracy"]
    assert len(shares) == 5 * 3 + 2 and len(set(shares)) == 1 and shares[0] > 0
    assert value(rows(folder, "profile.jsonl"), "suggested_tokens", who="before") is None


def test_the_teacher_continues_from_the_given_prefix(tmp_path):
    """The third token is the strategy.

    With a prefix of three tokens the choice of its author is kept; with two, the other chooses.
    """
    asked = ("rollout=eager", "execution=inline", "prompts=16", "samples=1")
    config = read(*asked, command="probe", schema=ProbeCommandConfig)
    material = Material(plan.plan(config), tmp_path, PlainGrader(lab.grade))

    def strategies(graded):
        return [each.responses[0].text.split()[2] for each in graded]

    own = strategies(material.graded("before"))
    assert set(own) == {"quick", "careful"}
    assert strategies(continuation.continued(material, 3).graded) == own
    assert strategies(continuation.continued(material, 2).graded) == ["careful"] * 16
    mirror = {k: continuation.continued(material, k, of="teacher", by="before") for k in (2, 3)}
    assert strategies(mirror[3].graded) == ["careful"] * 16
    assert set(strategies(mirror[2].graded)) == {"quick", "careful"}
    asked = ProbeConfig(at=[3], words=["quick"])
    answers, going, holding = prefixes.answers(material, asked)
    assert holding == {"quick": {3: [[each == "quick"] for each in own]}}
    assert going == {3: [[True]] * 16} and answers.control == {3: answers.teacher}
    material.close()


@pytest.mark.parametrize("text", [True, False])
def test_a_prefix_is_the_same_text_in_the_teachers_tokens(text):
    words = lab_tokenizer()
    teacher = bytes_tokenizer() if text else words
    pair = PairConfig(in_package("student"), in_package("student"))
    pair.alignment = "text" if text else "auto"
    reader = pairing.resolve_pairing(pair, words, teacher).reader
    ids = words("plan : careful , one by one . \n a : 6 + 5 = 4 ; so the answer is").input_ids
    for k in range(len(ids) + 1):
        theirs = reader.read((*ids[:k], words.eos_token_id)).ids
        assert "".join(Spelling(teacher)(theirs)) == "".join(Spelling(words)(ids[:k]))


def in_package(name):
    return ModelConfig(path=f"esr:{name}")


def single(by_k):
    return {k: [[bool(each)] for each in values] for k, values in by_k.items()}


def decayed(right, going, control=None, mirror=None, holding=None):
    student, teacher = [[0], [0], [1], [0]], [[1], [1], [1], [0]]
    answers = decay.Answers(
        student, teacher, single(right), single(control or {}), single(mirror or {})
    )
    holding = {word: single(by_k) for word, by_k in (holding or {}).items()}
    return decay.rows(answers, single(going), holding)


def test_the_drop_is_paired_by_question_at_a_k_that_nine_tenths_pass():
    """All responses are longer than 8 tokens, but only three of four are longer than 16."""
    rows = decayed(
        {0: [1, 1, 1, 0], 8: [1, 0, 1, 0], 16: [0, 0, 1, 0]},
        {0: [1] * 4, 8: [1] * 4, 16: [1, 1, 0, 1]},
    )
    assert find(rows, "accuracy", who="continued", at=16)["value"] == 0.25
    assert find(rows, "share_going", at=16)["value"] == 0.75
    fall = find(rows, "drop")
    assert (fall["value"], fall["from"], fall["to"], fall["share_going"]) == (0.25, 0, 8, 1)
    expected = paired([1, 0, 1, 0], [1, 1, 1, 0])[1:]
    assert (fall["low"], fall["high"]) == pytest.approx(expected, abs=1e-5)
    # Among the longer ones, none is correct, neither as continued nor as the student's.
    among = {who: find(rows, "accuracy_going", who=who, at=16) for who in ("continued", "student")}
    assert {each["value"] for each in among.values()} == {0} and among["student"]["n"] == 3
    assert find(rows, "accuracy_going", who="teacher", at=16)["value"] == pytest.approx(2 / 3, 1e-5)


def test_the_control_and_the_mirror_are_paired_at_the_same_k():
    going, right = {0: [1] * 4, 8: [1] * 4}, {0: [1, 1, 1, 0], 8: [1, 0, 0, 0]}
    rows = decayed(right, going, control={8: [1, 1, 0, 1]}, mirror={8: [1, 1, 1, 0]})
    assert find(rows, "accuracy", who="control", at=8)["value"] == 0.75
    against = find(rows, "drop_against_control")
    assert (against["value"], against["at_k"]) == (0.5, 8)
    expected = paired([1, 0, 0, 0], [1, 1, 0, 1])[1:]
    assert (against["low"], against["high"]) == pytest.approx(expected, abs=1e-5)
    gain = find(rows, "gain_of_mirror")
    assert gain["value"] == 0.5 and find(rows, "accuracy", who="mirror", at=8)["value"] == 0.75
    assert "0.500 [" in decay.headline(rows) and "below the teacher's own" in decay.headline(rows)
    assert not [r for r in decayed(right, going) if r["figure"].startswith(("drop_", "gain"))]


def test_accuracy_by_the_students_result_and_by_what_the_prefix_holds():
    """Of three responses that go on at 8, one was right; two hold the word."""
    rows = decayed(
        {8: [1, 0, 1, 0]}, {8: [1, 1, 1, 0]}, holding={"quick": {8: [1, 0, 1, 1]}}
    )  # fmt: skip
    by_student = {
        result: find(rows, "accuracy_by_student", who="continued", student=result)
        for result in ("right", "wrong")
    }
    assert (by_student["right"]["value"], by_student["right"]["n"]) == (1, 1)
    assert (by_student["wrong"]["value"], by_student["wrong"]["n"]) == (0.5, 2)
    held = find(rows, "accuracy_by_prefix", who="continued", prefix="quick", at=8)
    assert (held["value"], held["n"]) == (1, 2)
    assert find(rows, "accuracy_by_prefix", who="student", prefix="quick")["value"] == 0.5


def test_the_trend_is_the_fall_of_the_fitted_line():
    """One, one, zero, zero over four k: the slope is -0.4 a step."""
    rows = decline.rows({0: [1] * 50, 1: [1] * 50, 2: [0] * 50, 8: [0] * 50})
    trend = find(rows, "trend")
    assert trend["value"] == pytest.approx(1.2) and trend["low"] > 1
    assert [r["value"] for r in rows if r["figure"] == "step"] == [0, 1, 0]
    assert find(decline.rows({0: [1, 0, 1], 5: [0, 0, 1]}), "trend")["value"] == pytest.approx(
        1 / 3
    )


def test_a_rise_between_neighbours_is_found_although_the_ends_fall():
    rows = decline.rows({0: [1] * 50, 3: [0] * 50, 4: [1] * 40 + [0] * 10, 8: [0] * 50})
    rise = find(rows, "steepest_rise")
    assert (rise["from"], rise["to"], rise["value"]) == (3, 4, 0.8) and rise["low"] > 0
    assert "rises by 0.800" in decline.words(rows)
    # Two questions of fifty are within chance.
    rows = decline.rows({0: [1] * 50, 3: [0] * 50, 4: [1] * 2 + [0] * 48})
    assert find(rows, "steepest_rise")["low"] < 0 and "rises nowhere" in decline.words(rows)


def test_intervals_of_many_steps_are_wider():
    scores = [1.0] * 30 + [0.0] * 20
    few, many = (decline.rows({0: scores, **dict.fromkeys(range(1, count), scores[::-1])})
                 for count in (2, 9))  # fmt: skip
    assert find(many, "step", at=1)["low"] < find(few, "step", at=1)["low"]
    expected = paired(scores[::-1], scores)[1:]
    assert (find(few, "step", at=1)["low"], find(few, "step", at=1)["high"]) == pytest.approx(
        expected, abs=1e-5
    )


def test_no_drop_without_k_zero_or_a_k_that_most_responses_pass():
    for ks in ((0, 16), (8, 16), (0,)):
        going = {k: [1, 1, k < 16, 1] for k in ks}
        rows = decayed({k: [1, 1, 0, 0] for k in ks}, going)
        assert not [r for r in rows if r["figure"] == "drop"]
        assert decay.headline(rows).startswith("no drop")


def test_the_ladder_covers_the_k_of_nine_tenths_and_beyond():
    lengths = [41] + [101] * 18 + [201]
    ks = decay.ladder(lengths)
    assert ks == [0, 12, 25, 37, 50, 75, 125, 150, 175]
    assert [sum(n > k for n in lengths) >= 18 for k in ks] == [True] * 6 + [False] * 3
    assert decay.ladder([1, 1]) == [0] and decay.ladder([3, 3]) == [0, 1, 2]
