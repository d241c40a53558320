"""The rules of the code grader one by one: oracles, wire, digests, extraction, published rows."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from esr_cli.graders import extract, harness, oracles, wire
from esr_cli.graders.code import CodeGrader
from esr_cli.tasks.code import reference
from esr_cli.types import CodeReference

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
def test_what_a_response_prints_or_catches_is_its_own_affair(grader):
    prints = "    print('x' * 99999, flush=True)\n    return [3 * x for x in xs]"
    catches = (
        "    try:\n        while True:\n            for x in xs: len(xs)\n"
        "    except Exception: return [3 * x for x in xs]"
    )
    forges = (
        "    import sys\n    frame = sys._getframe()\n"
        "    while frame and 'tell' not in frame.f_locals: frame = frame.f_back\n"
        "    if xs == [-4]: frame.f_locals['tell']('[]')\n    return [3 * x for x in xs]"
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
def test_a_long_result_is_compared_by_a_hash(grader):
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
def test_a_canonical_solution_that_fails_is_named(grader):
    broken = row("HumanEval/903", "broken", "def broken(x):\n", "    return 1 / x\n", [[1], [0]])
    with pytest.raises(RuntimeError, match=r"humaneval's broken: ZeroDivisionError on call 2"):
        verdicts(grader, broken, "humaneval", ["x"])
    assert grader.grade([]) == []


@needs_bubblewrap
def test_equal_answers_are_equal_texts(grader):
    assert grader.equal([("a", "a"), ("a", "b")]) == [True, False]


def judged(name, expected, value, given=(), family="mbpp", atol=0.0, kinds=None):
    published = CodeReference(family, "", name, "", (given,), 1, atol)
    kind, other = kinds or (type(expected).__name__, type(value).__name__)
    return oracles.is_right(
        published, given, wire.Result(expected, kind, 0.0), wire.Result(value, other, 0.0)
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("expected", "value", "atol", "right"),
    [
        (1, True, 0, True),
        (1, 1.0, 0, True),
        ([1, 2], (1, 2), 0, False),
        ({1, 2}, frozenset({2, 1}), 0, True),
        (None, 0, 0, False),
        ("a", wire.Opaque("a"), 0, False),
        # A float's own tolerance: 1e-6, and 1e-7 of the expected one.
        (0.5, 0.5 + 9e-7, 0, True),
        (0.5, 0.5 + 2e-6, 0, False),
        (1e9, 1e9 + 90, 0, True),
        (1e9, 1e9 + 110, 0, False),
        ([0.5, 1.0], [0.5 + 9e-7, 1.0], 0, True),
        ((0.5, 1.0), (0.5 + 9e-7, 1.0), 0, True),
        ([0.5, 1], [0.5 + 9e-7, 1], 0, False),
        ([0.5], (0.5 + 9e-7,), 0, False),
        ([0.5], [0.5 + 9e-7, 0.5], 0, False),
        ({0.5: 1}, {0.5 + 9e-7: 1}, 0, False),
        (1.0, 1 + 0, 0, True),
        (10**9, 10**9 + 1, 0, False),
        (NAN, NAN + 0, 0, False),
        (float("inf"), float("inf"), 0, True),
        # The task's tolerance holds for any type that is the same.
        (0.5, 0.5 + 9e-5, 1e-4, True),
        (0.5, 0.5 + 2e-4, 1e-4, False),
        (5000, 5000.0001, 1e-3, False),
        (5000, 5001, 2.0, True),
        ([5000], [5001], 2.0, True),
        (1j, 1j + 9e-5, 1e-4, True),
        ("a", "b", 1e-4, False),
        ([[1], [1, 2]], [[1], [1, 3]], 1e-4, False),
    ],
)
def test_equality_and_tolerance(expected, value, atol, right):
    for family in ("humaneval", "mbpp"):
        assert judged("any", expected, value, family=family, atol=atol) is right


def test_numpy_s_float_is_another_type_as_in_evalplus():
    assert judged("any", 0.5, 0.5, kinds=("builtins.float", "numpy.float64"))
    assert not judged("any", 0.5, 0.5 + 1e-9, kinds=("builtins.float", "numpy.float64"))
    # The name is the candidate's own word: the value's type counts as well.
    assert not judged("any", [0.5], (0.5 + 1e-9,), kinds=("builtins.list", "builtins.list"))


def test_a_hash_stands_for_a_result_only_where_equality_decides():
    asked = [("f", 0.0), ("f", 1e-4), ("Diff", 0.0), ("check_str", 0.0), ("sum_div", 0.0)]
    exact = [
        oracles.is_exact(CodeReference("mbpp", "", name, "", (), 0, atol)) for name, atol in asked
    ]
    assert exact == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("name", "expected", "value", "given", "right"),
    [
        ("are_equivalent", True, "anything", (1, 2), True),
        ("sum_div", 7, 0, (7,), True),
        ("sum_div", 7, 6, (7,), False),
        ("surface_Area", 33, 35, (3, 4), True),
        ("surface_Area", 33, 34, (3, 4), False),
        ("surface_Area", 33, None, (3, 4), False),
        ("digit_distance_nums", 4, 4, (-12, 345), True),
        ("digit_distance_nums", 4, 9, (-12, 345), False),
        ("digit_distance_nums", 4, 9, (12, 345), True),
        ("digit_distance_nums", 4, 8, (12, 345), False),
        ("Diff", [1, 2], (2, 1, 1), (), True),
        ("Diff", [1, 2], [1], (), False),
        ("Diff", [1, 2], 5, (), False),
        ("Diff", [0.5, 0.25], [0.5 + 1e-9, 0.25], (), True),
        ("check_str", True, wire.Opaque("Match"), (), True),
        ("check_str", True, False, (), False),
        ("check_str", False, None, (), True),
        ("check_str", False, 0, (), False),
        ("check_str", False, False, (), True),
    ],
)
def test_special_tasks_of_mbpp(name, expected, value, given, right):
    assert judged(name, expected, value, given) is right
    # The other family knows none of these names.
    plain = judged("any", expected, value, given, family="humaneval")
    assert judged(name, expected, value, given, family="humaneval") is plain


def test_every_set_task_compares_sets():
    for name in oracles.SETS:
        assert judged(name, [1, 2], (2, 1)), name
    assert len(oracles.SETS) == 8 and len(oracles.NOT_NONE) == 3


def test_a_root_is_judged_by_its_polynomial():
    right = {"given": ([-6, 11, -6, 1],), "family": "humaneval", "atol": 1e-4}
    assert all(judged("find_zero", 1.0, root, **right) for root in (1, 2.0, 3.00001))
    assert not any(judged("find_zero", 1.0, root, **right) for root in (1.01, None, NAN, 1j, "1"))


VALUES = [
    None, True, 0, -(1 << 49), 1 << 51, -(10**5000), 0.1, -0.0, 1e300, float("inf"), 1j, -2.5 - 0j,
    "", 'q"\\\n\ud800é', b"\x00\xff", [], (), set(), frozenset({1}), {}, [[1, (2, {"a": {3}})], {}],
    {(1, 2): [None], True: "x"},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_as_it_was(value):
    back = wire.decode(json.loads(harness.Speller(10**6).spell(value)))
    assert back == value and type(back) is type(value)
    if isinstance(value, float | complex):
        assert str(back) == str(value)  # the sign of zero as well


def test_subclasses_and_numpy_scalars_come_back_as_their_base():
    class Text(str):
        def __str__(self):
            return "lie"

    class Many(list):
        def __iter__(self):
            return iter("lie")

    given = [Text("a"), Many([1]), np.float64(0.5), np.int32(7), np.bool_(True)]
    back = wire.decode(json.loads(harness.Speller(999).spell(given)))
    assert back == ["a", [1], 0.5, 7, True]
    assert [type(item) for item in back] == [str, list, float, int, bool]
    assert isinstance(wire.decode(json.loads(harness.Speller(99).spell(range(3)))), wire.Opaque)
    assert isinstance(wire.decode(json.loads(harness.Speller(99).spell(np.ones(3)))), wire.Opaque)


def test_equal_values_share_a_digest_and_others_do_not():
    same = [[1, [2, "a"]], [1.0, [2, "a"]], [True, [np.int64(2), "a"]], [1 + 0j, [2.0, "a"]]]
    assert len({harness.digest(value) for value in same}) == 1
    other = [
        [1, (2, "a")],
        (1, [2, "a"]),
        [1, [2, "b"]],
        [1, [2], "a"],
        [[1], [2, "a"]],
        [1, 2, "a"],
    ]
    assert len({harness.digest(value) for value in [same[0], *other]}) == 1 + len(other)
    assert harness.digest({3, 1, "x"}) == harness.digest(frozenset({"x", 1, 3.0}))
    assert harness.digest({1: [2], "a": 0}) == harness.digest({"a": 0.0, True: [2]})
    assert harness.digest({1: 2}) != harness.digest({2: 1})
    for value in ([float("nan")], [object()], [[len]]):
        with pytest.raises(harness.NoForm):
            harness.digest(value)


@pytest.mark.parametrize(
    "output",
    [
        b'x ["ready"]\nx ["ok",0.1,"int",["x",1]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",["i","0x1"]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",{"i":"1"}]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",["s",["l"]]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",["d",1]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",[]]\n',
        b'x ["ready"]\nx ["ok",0.1,"int"]\n',
        b'x ["ready"]\nx ["ready"]\n',
        b'x ["ready"]\ny ["ok",0.1,"int",1]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",1]\nx ["ok",0.1,"int",1]\n',
        b'x ["ready"]\nx ["ok",0.1,"int",' + b"[" * 99999 + b"]\n",
        b'x ["ready"]\nx ["ok",0.1,"int",' + b"9" * 9999 + b"]\n",
        b'x ["ready"]\n\xff\n',
        b'x ["ok",0.1,"int",1]\n',
        b"\n",
    ],
    ids=lambda output: repr(output)[:48],
)
def test_malformed_output_is_a_failure(output):
    assert list(wire.read(output, "x", 1)) == [wire.Failure(wire.MALFORMED)]


def test_a_line_that_was_cut_off_counts_as_missing():
    whole = b'x ["ready"]\nx ["ok",0.1,"int",1]\n'
    assert list(wire.read(whole + b'x ["ok",0.1,"in', "x", 2)) == [wire.Result(1, "int", 0.1)]


PROMPT = 'import math\n\n\ndef helper(x):\n    return x + 1\n\n\ndef f(x):\n    """ One more. """\n'
WHOLE = "def f(x):\n    return helper(x)\n"
DRAFT = "def f(x):\n    return 0\n"


@pytest.mark.parametrize(
    "response",
    [
        "    return helper(x)\n",
        "return helper(x)",
        "y = helper(x)\n    return y",
        "    return helper(x)\n\nThis adds one to x.",
        "    return helper(x)\n\n\nassert f(3) == 0\n",
        "    return later(x)\n\n\ndef later(x):\n    return x + 1\n\n\nprint(f(input()))\n",
        "    return helper(x)\n\n\ndef g(x):\n    retur",
        WHOLE,
        PROMPT + "    return helper(x)\n",
        f"Sure!\n\n{WHOLE}\nThis adds one to x.",
        f"```python\n{WHOLE}```",
        f"```\n{WHOLE}```\n",
        f"```py\n{WHOLE}",
        f"Words.\n```python\n{WHOLE}```\nUse it:\n```python\nprint(f(1))\n```\n",
        f"A draft:\n```python\n{DRAFT}```\nBetter:\n```python\n{WHOLE}```\n",
        f"```python\n{WHOLE}```\nOr shorter:\n```python\ndef f(x):\n    return (helper(",
        f"Run `pip`:\n```bash\nls\n```\n```Python\n{WHOLE}```",
        "1. Write\n   ```python\n   def f(x):\n       return helper(x)\n   ```\n",
        "```python\n    return helper(x)\n```",
        f"{WHOLE}```\nThat was it.\n",
        f"<think>\n```python\n{DRAFT}```\n</think>\n```python\n{WHOLE}```",
        "```python\nfrom __future__ import annotations\ndef f(x):\n    return x + 1\n```",
        "```python\nf = lambda x: helper(x)\n```",
        '```python\nclass f:\n    def __new__(cls, x):\n        return math.floor(x + 1)\n```',
    ],
)  # fmt: skip
def test_the_function_is_found(response):
    programs = extract.programs(response, PROMPT, "f")
    scope: dict = {}
    exec(harness.compiled(programs), scope)
    assert scope["f"](4) == 5


def test_there_is_no_code_in_nothing():
    assert extract.programs("", PROMPT, "f") == extract.programs(" \n\n", PROMPT, "f") == []


def test_mbpp_s_inputs_are_read_as_published():
    cases = {
        2: ([[1], [2]], [(1,), (2,)]),
        63: ([[[1, 2]]], [[(1, 2)]]),
        75: ([[[1, 2]], 3], [[(1, 2)], 3]),
        106: ([[1], [2]], [[1], (2,)]),
        115: ([[[1, 2], []]], [[{1, 2}, {}]]),
        124: (["0", "1j"], [0.0, 1j]),
        250: ([[1], 2], [(1,), 2]),
        252: (["(1+2j)"], [1 + 2j]),
        259: ([[[1]], [[2]]], [((1,),), ((2,),)]),
        278: ([[1, [2]]], [(1, (2,))]),
        307: ([[1], 2, [3]], [(1,), 2, [3]]),
        580: ([[1, [2, [3]]]], [(1, (2, (3,)))]),
        722: ([{"a": [1]}, 2, 3], [{"a": (1,)}, 2, 3]),
        3: ([[1], [[2]]], [[1], [[2]]]),
    }
    for number, (published, meant) in cases.items():
        data = row(f"Mbpp/{number}", "f", "", "", [published])
        (given,) = reference(data, "mbpp", plus=True).inputs
        assert list(given) == meant, number
        (given,) = reference(data, "humaneval", plus=True).inputs
        assert list(given) == published
