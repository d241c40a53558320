"""The decay probe: prefixes that the teacher continues, the drop, and the ladder of k."""

from __future__ import annotations

import pytest
from conftest import esr, read, rows, value
from test_probe_command import PROBE
from test_probes import find

from esr_cli.assembly import pairing
from esr_cli.base.statistics import paired
from esr_cli.config import ModelConfig, PairConfig, ProbeCommandConfig
from esr_cli.graders import lab
from esr_cli.graders.plain import PlainGrader
from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models.spelling import Spelling
from esr_cli.probe import continuation, plan
from esr_cli.probe.analyses import decay
from esr_cli.probe.material import Material


def test_a_teacher_equal_to_the_student_completes_its_responses(tmp_path):
    """With greedy decoding, no token is lost or doubled between prefix and completion."""
    done = esr(
        *PROBE, "pair.teacher.path=esr:student", "benchmark.lab.temperature=0", "samples=1",
        "prompts=12", "probe=[decay,profile]", "probe.decay.at=[0,1,5,40,81]", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "runs" / "lab").iterdir()
    found = rows(folder, "decay.jsonl")
    shares = [r["value"] for r in found if r["figure"] == "accuracy"]
    assert len(shares) == 7 and len(set(shares)) == 1 and shares[0] > 0
    assert value(rows(folder, "profile.jsonl"), "suggested_tokens", who="before") is None


def test_the_teacher_continues_from_the_given_prefix(tmp_path):
    """The third token is the strategy.

    With a prefix of three tokens the student's choice is kept; with two, the teacher chooses.
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


def decayed(right, going):
    student, teacher = [[0], [0], [1], [0]], [[1], [1], [1], [0]]
    return decay.rows(
        {k: [[bool(r)] for r in each] for k, each in right.items()},
        {k: [[bool(g)] for g in each] for k, each in going.items()},
        student, teacher,
    )  # fmt: skip


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
