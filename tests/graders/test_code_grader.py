"""The grader of code: a response's program, and when its results are correct."""

from __future__ import annotations

import os
import shutil

import pytest

from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig
from esr_cli.graders import extract
from esr_cli.graders.code import CodeGrader
from esr_cli.types import CodeReference

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
PROMPT = 'import math\n\n\ndef half(x):\n    return x / 2\n\n\ndef f(x):\n    """Doubles."""\n'
BODY = "    return 2 * x\n"
WHOLE = "def f(x):\n    return 2 * x\n"


@pytest.fixture(scope="module")
def grader():
    found = CodeGrader(workers=2)
    yield found
    found.close()


def task(canonical, inputs, *, name="f", family="humaneval", base=None, atol=0.0, prompt=""):
    given = tuple(tuple(each) for each in inputs)
    count = len(given) if base is None else base
    return CodeReference(family, prompt, name, canonical, given, count, atol)


DOUBLE = task(PROMPT + BODY, [[1], [4]], prompt=PROMPT)


@pytest.mark.parametrize(
    ("response", "right"),
    [
        (BODY, True),
        (WHOLE, True),
        (f"Sure:\n```python\n{WHOLE}```\nDone.", True),
        (f"```python\n{WHOLE}", True),  # cut at the budget
        (f"```python\ndef f(x):\n    return 0\n```\nNo:\n```python\n{WHOLE}```", True),  # the last
        (f"```python\n{WHOLE}```\nTests:\n```python\nassert f(1) == 2\n```", True),
        (BODY + "\n\nprint(f(1))\nI hope that helps!\n", True),
        ("def f(x):\n    return int(4 * half(x))\n", True),  # the prompt's helper stands there
        ("def f(x):\n    return math.floor(2 * x)\n", True),  # and its import
        ("def f(x):\n    return x\n", False),
        ("def g(x):\n    return 2 * x\n", False),
        ("I do not know.", False),
        ("", False),
        ("```python\ndef f(x:\n```", False),
    ],
)
def test_the_program_of_a_response_is_graded(response, right, grader):
    [grade] = grader.grade([(response, DOUBLE)])
    assert grade.correct is right, grade.reason


def test_programs_of_text_without_code():
    assert extract.programs("", PROMPT, "f") == []


# The canonical program, its input, a response, and its verdict by evalplus's rules.
RULES = {
    "floats within 1e-6": ("def f(x): return x / 3", 1, "def f(x): return x / 3 + 5e-7", True),
    "floats beyond": ("def f(x): return x / 3", 1, "def f(x): return x / 3 + 5e-6", False),
    "lists of floats": ("def f(x): return [x / 3]", 1, "def f(x): return [x / 3 + 5e-7]", True),
    "of another length": ("def f(x): return [x / 3]", 1, "def f(x): return [x / 3] * 2", False),
    "of another type": ("def f(x): return [x / 3]", 1, "def f(x): return (x / 3 + 5e-7,)", False),
    "no tolerance for int": ("def f(x): return x", 10**9, "def f(x): return x + 1e-7", False),
    "true is 1": ("def f(x): return x == 1", 1, "def f(x): return 1", True),
    "1 is 1.0": ("def f(x): return x", 1, "def f(x): return 1.0", True),
    "a list is no tuple": ("def f(x): return [x]", 1, "def f(x): return (x,)", False),
    "a text is no number": ("def f(x): return x", 1, "def f(x): return '1'", False),
    "none is not false": ("def f(x): return None", 1, "def f(x): return False", False),
    "an ordered dict": (
        "def f(x): return {x: 1}", 1,
        "from collections import OrderedDict\ndef f(x): return OrderedDict({x: 1})", True,
    ),
    "huge integers": ("def f(x): return 7**20000", 1, "def f(x): return 7**20000", True),
    "other huge integers": ("def f(x): return 7**20000", 1, "def f(x): return 7**20000+1", False),
    "nan equals nothing": (
        "def f(x): return 'nan'", 1, "def f(x): return float('nan')", False,
    ),
}  # fmt: skip


def test_results_by_evalplus_rules(grader):
    pairs = [(said, task(canonical, [[x]])) for canonical, x, said, _ in RULES.values()]
    found = {name: g.correct for name, g in zip(RULES, grader.grade(pairs), strict=True)}
    assert found == {name: right for name, (*_, right) in RULES.items()}


SPECIAL = {
    ("mbpp", "similar_elements", "return (1, 2)", "return [2, 1, 1]"): True,
    ("mbpp", "similar_elements", "return (1, 2)", "return [2, 1, 3]"): False,
    ("humaneval", "similar_elements", "return (1, 2)", "return (2, 1)"): False,
    ("mbpp", "check_str", "return 'match'", "return True"): True,
    ("mbpp", "check_str", "return 'match'", "return object()"): True,
    ("mbpp", "check_str", "return None", "return 'match'"): False,
    ("mbpp", "check_str", "return None", "return False"): True,
    ("mbpp", "sum_div", "return 5", "return 0"): True,
    ("mbpp", "sum_div", "return 5", "return 4"): False,
    ("mbpp", "are_equivalent", "return True", "return False"): True,
    ("mbpp", "are_equivalent", "return True", "raise ValueError"): False,
}


def test_special_oracles(grader):
    pairs = [
        (f"def {name}(x): {said}", task(f"def {name}(x): {canonical}", [[1]], name=name, family=f))
        for f, name, canonical, said in SPECIAL
    ]
    found = dict(zip(SPECIAL, (g.correct for g in grader.grade(pairs)), strict=True))
    assert found == SPECIAL


def test_a_root_is_checked_by_the_polynomial(grader):
    roots = "def find_zero(xs): return {}"
    asked = task(roots.format("2.0"), [[[-4, 0, 1]]], name="find_zero", atol=1e-4)
    says = [roots.format(x) for x in ("-2.0", "2.00001", "2.1", "'2'")]
    found = [grade.correct for grade in grader.grade([(text, asked) for text in says])]
    assert found == [True, True, False, False]


def test_base_and_plus_verdicts_differ_and_the_reason_names_the_call(grader):
    asked = task(PROMPT + BODY, [[1], [2], [3]], base=2, prompt=PROMPT)
    says = ["def f(x): return 2 * x if x < 3 else 0", "def f(x): return 2", WHOLE]
    grades = grader.grade([(text, asked) for text in says])
    assert [(g.correct, g.also["base"]) for g in grades] == [
        (False, True), (False, False), (True, True),
    ]  # fmt: skip
    assert [g.reason for g in grades] == [
        "wrong output on call 3",
        "wrong output on call 2",
        "passed",
    ]
    assert grader.grade([(WHOLE, DOUBLE)])[0].also == {}


def test_every_call_gets_fresh_arguments(grader):
    asked = task("def f(x): return sorted(x)", [[[3, 1]], [[3, 1]]])
    spoils = "seen = []\ndef f(x):\n    seen.append(x); x.sort(); return x\n"
    assert grader.grade([(spoils, asked)])[0].correct


def test_a_canonical_program_that_fails_costs_its_own_problem(grader):
    broken = task("def f(x): raise ValueError", [[1]])
    grades = grader.grade([(WHOLE, broken), (WHOLE, DOUBLE), ("", broken)])
    assert [(grade.judged, grade.correct) for grade in grades] == [
        (False, False), (True, True), (False, False),
    ]  # fmt: skip
    assert grades[0].reason == "the canonical solution failed: ValueError on call 1"


def test_a_response_may_sleep_longer_than_it_may_compute(grader):
    slow = "import time\ndef f(x):\n    time.sleep(1.2)\n    return 2 * x\n"
    busy = "def f(x):\n    while True: pass\n"
    grades = grader.grade([(slow, DOUBLE), (busy, DOUBLE)])
    assert [grade.reason for grade in grades] == ["passed", "timed out on call 1"]


@pytest.mark.skipif("ESR_DATA" not in os.environ, reason="needs the folder of data in ESR_DATA")
@pytest.mark.parametrize(
    ("family", "file"), [("humaneval", "HumanEvalPlus.jsonl.gz"), ("mbpp", "MbppPlus.jsonl.gz")]
)
def test_published_solutions_pass_base_and_plus(family, file, grader):
    config = BenchmarkConfig(kind="code", family=family, plus=True, files=[file])
    questions = catalog.load(family, config, None).questions
    pairs = [(f"```python\n{q.reference.canonical}\n```", q.reference) for q in questions]
    wrong = {q.id: g for q, g in zip(questions, grader.grade(pairs), strict=True) if not g.correct}
    assert not wrong
