"""The rules of the code grader, one by one."""

from __future__ import annotations

import shutil

import pytest

from esr_cli.graders import wire
from esr_cli.graders.code import CodeGrader
from esr_cli.tasks.code import reference

needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed"
)


def row(task_id, name, prompt, solution, base, plus=(), atol=0):
    return {
        "task_id": task_id, "entry_point": name, "prompt": prompt, "canonical_solution": solution,
        "base_input": base, "plus_input": list(plus), "atol": atol,
    }  # fmt: skip


TRIPLE = row(
    "HumanEval/900", "triple",
    'from typing import List\n\n\ndef triple(xs: List[int]) -> List[int]:\n    """ Thrice. """\n',
    "    return [3 * x for x in xs]\n", [[[1, 2]], [[]]], [[[-4]], [[10**30]]],
)  # fmt: skip
SEVENTH = row(
    "HumanEval/901", "seventh", 'def seventh(x):\n    """ A seventh. """\n',
    "    return x / 7\n", [[3]], [[5e9]],
)  # fmt: skip
ROOT = row(
    "HumanEval/32", "find_zero",
    "def poly(xs, x):\n    return sum(c * x ** i for i, c in enumerate(xs))\n\n\n"
    'def find_zero(xs):\n    """ Where poly is 0. """\n',
    "    return -xs[0] / xs[1]\n", [[[1, 2]], [[-6, 3]]], atol=1e-4,
)  # fmt: skip
SHARED = row(
    "Mbpp/2", "similar_elements", '"""\nWhat two tuples share.\n"""\n',
    "def similar_elements(a, b):\n    return tuple(set(a) & set(b))\n",
    [[[3, 4, 5], [5, 4]]], [[[], [1]]],
)  # fmt: skip
MATCH = row(
    "Mbpp/794", "text_starta_endb", '"""\nFrom a to b.\n"""\n',
    "import re\ndef text_starta_endb(t):\n    return re.search('a.*?b$', t)\n",
    [["aab"], ["abc"]],
)  # fmt: skip
POLAR = row(
    "Mbpp/252", "convert", '"""\nPolar.\n"""\n',
    "import cmath\ndef convert(z):\n    return cmath.polar(z)\n", [[1], ["(3+4j)"]],
)  # fmt: skip
ROWS = [(TRIPLE, "humaneval"), (SEVENTH, "humaneval"), (ROOT, "humaneval")]
ROWS += [(SHARED, "mbpp"), (MATCH, "mbpp"), (POLAR, "mbpp")]


@pytest.fixture(scope="module")
def grader():
    made = CodeGrader(workers=2)
    yield made
    made.close()


def verdicts(grader, data, family, responses, plus=True):
    published = reference(data, family, plus)
    return grader.grade([(response, published) for response in responses])


@needs_bubblewrap
@pytest.mark.parametrize(("data", "family"), ROWS, ids=lambda value: str(value)[:40])
def test_the_canonical_solution_passes(grader, data, family):
    whole = data["prompt"] + data["canonical_solution"]
    bare = data["canonical_solution"]
    fenced = f"Here:\n```python\n{whole}```\nDone."
    for grade in verdicts(grader, data, family, [whole, bare, fenced]):
        assert grade.correct and grade.reason == "passed", grade
        assert grade.also == ({"base": True} if data["plus_input"] else {})


@needs_bubblewrap
def test_verdicts_reasons_and_the_base(grader):
    cases = {
        "    return [3 * x for x in xs] if xs != [-4] else 0": ("wrong output on call 3", True),
        "    return [3 * x for x in xs] if xs else 0": ("wrong output on call 2", False),
        "    return tuple(3 * x for x in xs)": ("wrong output on call 1", False),
        "    return [3.0 * x for x in xs] if xs != [10**30] else [3 * 10**30]": ("passed", True),
        "    return [str(3 * x) for x in xs]": ("wrong output on call 1", False),
        "    return [3 * x for x in xs][0:1]": ("wrong output on call 1", False),
        "    return 1 / 0": ("ZeroDivisionError on call 1", False),
        "    xs.append(1)\n    return [3 * x for x in xs[:-1]]": ("passed", True),
        "    return (3 * x for x in xs)": ("wrong output on call 1", False),
        "    import numpy as np\n    return [np.int64(3 * x) if x < 99 else 3 * x for x in xs]":
            ("passed", True),
        "def triple(xs):\n    return [3 * x": ("SyntaxError: '[' was never closed", False),
        "def other(xs):\n    return 1": ("", False),
        "def triple(xs):\n    while True: pass": ("timed out on call 1", False),
        "triple = 3": ("TypeError on call 1", False),
        "raise ValueError\ndef triple(xs): pass": ("ValueError", False),
        "   \n": ("no code", False),
    }  # fmt: skip
    grades = verdicts(grader, TRIPLE, "humaneval", list(cases))
    for (response, (reason, base)), grade in zip(cases.items(), grades, strict=True):
        assert grade.reason == reason or not reason, (response, grade)
        assert grade.also == {"base": base}, (response, grade)
        assert grade.correct == (reason == "passed"), (response, grade)
        assert grade.answer is None


@needs_bubblewrap
def test_printing_is_ignored_and_timeouts_and_forgery_are_detected(grader):
    prints = "    print('x' * 99999, flush=True)\n    return [3 * x for x in xs]"
    catches = (
        "    try:\n        while True:\n            for x in xs: len(xs)\n"
        "    except Exception: return [3 * x for x in xs]"
    )
    forges = (
        "    import sys\n    frame = sys._getframe()\n"
        "    while frame and 'emit' not in frame.f_locals: frame = frame.f_back\n"
        "    if xs == [-4]: frame.f_locals['emit']('[]')\n    return [3 * x for x in xs]"
    )
    grades = verdicts(grader, TRIPLE, "humaneval", [prints, catches, forges])
    assert [grade.reason for grade in grades] == [
        "passed", "timed out on call 1", "malformed output",
    ]  # fmt: skip
    assert grades[2].also == {"base": False}


@needs_bubblewrap
def test_without_the_plus_inputs_a_verdict_is_the_base(grader):
    wrong_later = "    return [3 * x for x in xs] if xs != [-4] else 0"
    (grade,) = verdicts(grader, TRIPLE, "humaneval", [wrong_later], plus=False)
    assert grade.correct and grade.also == {}


@needs_bubblewrap
def test_special_tasks_through_the_sandbox(grader):
    shared = [
        "def similar_elements(a, b):\n    return [x for x in b[::-1] if x in a] * 2",
        "def similar_elements(a, b):\n    return (x for x in a if x in b)",
        "def similar_elements(a, b):\n    return {x: 0 for x in a if x in b}.keys()",
        "def similar_elements(a, b):\n    assert type(a) is type(b) is tuple\n    return set(a)",
        "def similar_elements(a, b):\n    return [[x] for x in b]",
    ]
    grades = verdicts(grader, SHARED, "mbpp", shared)
    assert [grade.correct for grade in grades] == [True, True, True, False, False]
    match = "def text_starta_endb(t):\n    return {}"
    results = ["t == 'aab'", "'x' if t == 'aab' else None", "t", "None", "t == 'aab' or None"]
    grades = verdicts(grader, MATCH, "mbpp", [match.format(result) for result in results])
    assert [grade.correct for grade in grades] == [True, True, False, False, True]
    roots = ["    return round(-xs[0] / xs[1], 5)", "    return 0.1 - xs[0] / xs[1]"]
    roots += ["    return -0.5 if poly(xs, 0) == 1 else 2", "    return None"]
    grades = verdicts(grader, ROOT, "humaneval", roots)
    assert [grade.correct for grade in grades] == [True, False, True, False]


@needs_bubblewrap
def test_a_long_result_is_compared_by_hash(grader):
    many = row(
        "HumanEval/902", "count", 'def count(n):\n    """ Numbers. """\n',
        "    return [i if i % 2 else i / 2 for i in range(n)]\n", [[9]], [[100000]],
    )  # fmt: skip
    bodies = [
        "    return [float(i) if i % 2 else i // 2 for i in range(n)]",
        "    return [i if i % 2 else i / 2 for i in range(n - 1)] + [n - 1 if n < 99 else -1]",
        "    return tuple(i if i % 2 else i / 2 for i in range(n)) if n > 99 else list(range(9))",
    ]
    published = reference(many, "humaneval", True)
    grades = grader.grade([(body, published) for body in bodies])
    assert [grade.correct for grade in grades] == [True, False, False]
    assert isinstance(grader._expected[id(published)][1].results[1].value, wire.Digest)


@needs_bubblewrap
def test_a_canonical_solution_that_fails_leaves_its_responses_unjudged(grader):
    broken = row("HumanEval/903", "broken", "def broken(x):\n", "    return 1 / x\n", [[1], [0]])
    for grade in verdicts(grader, broken, "humaneval", ["x", "    return 1 / x\n"]):
        assert not grade.judged and not grade.correct, grade
        assert grade.reason == "the canonical solution failed: ZeroDivisionError on call 2"
    assert grader.grade([]) == []


@needs_bubblewrap
def test_answers_compare_as_strings(grader):
    assert grader.equal([("a", "a"), ("a", "b")]) == [True, False]
