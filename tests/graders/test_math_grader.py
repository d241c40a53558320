"""Math answers: the grader over boxes, normal forms and math-verify."""

from __future__ import annotations

import time

import pytest
from conftest import interpreter

from esr_cli.graders.equality import question
from esr_cli.graders.math import MathGrader
from esr_cli.graders.normal import normal

SECONDS = 2.0


@pytest.fixture(scope="module")
def grader():
    grader = MathGrader(workers=2, seconds=20)
    yield grader
    grader.close()


@pytest.fixture(scope="module")
def short_limit_grader():
    """A grader with a short limit for items that never end; other items must fit in it."""
    grader = MathGrader(workers=2, seconds=SECONDS)
    yield grader
    grader.close()


def verdict(grader: MathGrader, gold: str, answer: str) -> bool:
    return grader.grade([(f"So it is $\\boxed{{{answer}}}$.", gold)])[0].correct


RIGHT = [
    (r"p - q", "-q+p"),
    (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt3}"),
    (r"3\sqrt{13}", r"\sqrt{117}"),
    ("6+9i", "9i+6"),
    ("(a+5)(b+2)", "ab+2a+5b+10"),
    ("x^3+3x-6", "x(x^2+3)-6"),
    ("1,-2", "-2, 1"),
    ("1, 200", "200, 1"),
    ("(1,200)", "(1, 200.0)"),
    ("(6,31,-1)", "(6, 31, -1.0)"),
    ("(1,-2)", "1,-2"),
    (r"\{1\pm\sqrt{5},-2\}", r"1+\sqrt5,1-\sqrt5,-2"),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
    ("3,4", r"x=3\text{ or }x=4"),
    (r"\{5\}", "5"),
    ("1+2i", "(1+2i)"),
    (r"(2,12) \cup (12,102)", r"(12,102)\cup(2,12)"),
    (r"\begin{pmatrix} -1/3 \\ 2 \end{pmatrix}", r"\begin{bmatrix}\frac{-1}3\\2.0\end{bmatrix}"),
    ("y = -2x", "2x+y=0"),
    ("y=2x", "x=y/2"),
    ("5x - 7y + 11z + 4 = 0", "-5x+7y-11z=4"),
    ("x>5", r"(5,\infty)"),
    ("12", "(3)(4)"),
    ("12", "3(4)"),
    (r"\cot x", r"\frac{\cos x}{\sin x}"),
    (".0000672", r"6.72\times10^{-5}"),
    (r"\sqrt2", "1.414214"),
    ("0", r"\sqrt2\sqrt3-\sqrt6"),
    ("0", r"\sqrt{2+\sqrt3}-\frac{\sqrt6+\sqrt2}{2}"),
    (r"\frac1{2004!}", r"\frac{1}{2004 \cdot 2003!}"),
    ("5", "x+y=5"),
]

WRONG = [
    ("3R^2", "3r^2"),
    ("p-q", "q-p"),
    (r"\frac1{2004!}", r"\frac1{2006!}"),
    (r"\frac{1}{10^{20}}", r"\frac{1}{10^{21}}"),
    (r"(1,\frac{1}{10^{20}})", r"(1,\frac{1}{10^{21}})"),
    (r"\{x,\frac{1}{10^{20}}\}", r"\{x,\frac{1}{10^{21}}\}"),
    (
        r"\begin{pmatrix}1\\\frac{1}{10^{20}}\end{pmatrix}",
        r"\begin{pmatrix}1\\\frac{1}{10^{21}}\end{pmatrix}",
    ),
    (r"\frac{x}{10^{20}}", r"\frac{x}{10^{21}}"),
    ("(1,2)", r"\{1,2\}"),
    (r"\{1,2\}", "(1,2)"),
    ("(2,1)", "[2,1]"),
    ("(3,4]", "(3,4)"),
    ("1,-2", "(-2,1)"),
    ("(1,-2)", "-2,1"),
    ("5", r"3\uparrow\uparrow5"),
    ("3", r"3\uparrow\uparrow5"),
    ("52", "52_8"),
    ("52_8", "52"),
    ("5", "3, 4, and 5"),
    ("5", "5, 5"),
    ("2,2", "2"),
    ("7", "3 4"),
    ("7", "(3)(4)"),
    ("5", "5t"),
    ("2k", "2k t"),
    (r"\text{east}", r"\text{seat}"),
    ("f(x)", "f'(x)"),
    (r"\pi(R^2-r^2)", "0"),
    ("5", r"x \approx 5"),
    (r"2\pi\text{ cm}", r"2\cdot\pi\text{ m}"),
    ("5", "x>5"),
    (r"\sqrt2", "1.41"),
    (r"\infty", r"-\infty"),
    (r"(0,9) \cup (9,36)", "(0,36)"),
    ("x=3,y=4", "x=4,y=3"),
]


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_equal_answers_are_right(grader, gold, answer):
    assert verdict(grader, gold, answer)


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_unequal_answers_that_math_verify_accepts_are_wrong(grader, gold, answer):
    assert not verdict(grader, gold, answer)


def test_equal_is_symmetrical(grader):
    pairs = [("x>5", r"(5,\infty)"), ("1/2", "0.5"), ("p-q", "-q+p"), ("5", "6"), ("5", "3 4")]
    there = grader.equal(pairs)
    assert there == [True, True, True, False, False]
    assert grader.equal([(two, one) for one, two in pairs]) == there


def test_the_last_box_is_graded_and_other_boxes_are_reported(grader):
    response = r"First \boxed{\dfrac{1}{2}}, no: \boxed{3} is $\boxed{4}$"
    for gold, correct, first, anywhere in [
        (r"\frac12", False, True, True),
        ("3", False, False, True),
        ("4", True, False, True),
        ("5", False, False, False),
    ]:
        grade = grader.grade([(response, gold)])[0]
        assert grade.correct == correct and grade.answer == "4"
        assert grade.also == {"first_boxed": first, "anywhere": anywhere, "boxed": True}


@pytest.mark.parametrize(
    ("response", "gold", "occurs"),
    [
        ("the answer is 42.", "42", True),
        ("42", "42", True),
        ("it is 1,200 in all", "1200", True),
        ("costs $1200", r"\$1,\!200", True),
        ("she is Evelyn, I think", r"\text{Evelyn}", True),
        (r"we get $\dfrac 12$ of it", r"\frac{1}{2}", True),
        ("we get p - q here", "p-q", True),
        (r"and $3 \sqrt{13}$", r"3\sqrt{13}", True),
        ("142 and 421 and x42 and 42x", "42", False),
        ("3.42, 42.5", "42", False),
        ("42,000 and 1,042", "42", False),
        ("-42", "42", False),
        (r"3\sqrt{13}", r"\sqrt{13}", False),
        (r"\boxed{\frac{2\sqrt{13}}{2}} or \boxed{1} or \boxed{2}", r"\sqrt{13}", True),
        ("nothing", "42", False),
        ("", "42", False),
    ],
)
def test_anywhere(grader, response, gold, occurs):
    grade = grader.grade([(response, gold)])[0]
    assert grade.also["anywhere"] is occurs and not grade.correct


def test_anywhere_compares_few_boxes_with_math_verify_and_all_by_normal_form(grader):
    other = "".join(f"\\boxed{{{n}}}" for n in range(10, 20))
    surd, exact = r"\boxed{\frac{1}{\sqrt3}}", r"\boxed{\frac{\sqrt 3}{3}}"
    gold = r"\frac{\sqrt{3}}{3}"
    texts = [other + surd + other, other + exact + other, other + surd, other]
    grades = grader.grade([(text, gold) for text in texts])
    assert [grade.also["anywhere"] for grade in grades] == [False, True, True, False]


def test_reasons_and_votes(grader):
    responses = [
        r"\boxed{7}",
        "seven",
        r"\boxed{\dfrac{6}{4}}",
        r"\boxed{}",
        "\\boxed{" + "x+" * 99 + "x}",
    ]
    right, none, half, empty, long = grader.grade([(text, "7") for text in responses])
    assert (right.reason, right.answer) == ("right", "7")
    assert (none.reason, none.answer, none.also["boxed"]) == ("no box", None, False)
    assert (half.reason, half.answer) == (r"\dfrac{6}{4}, not 7", "3/2")
    assert (empty.reason, empty.correct) == ("an empty box, not 7", False)
    assert len(long.reason) < 60


def test_an_empty_box_is_never_right(grader):
    assert not grader.grade([(r"\boxed{}", "")])[0].correct
    assert not grader.grade([("\\boxed{" + " " * 2000 + "7}", "7")])[0].correct


def test_a_pair_is_compared_once(grader):
    pairs = [(r"\boxed{\frac{14}{\sqrt{49}}}", "2"), (r"\boxed{ \frac{14}{\sqrt{49}} }", "2")]
    before = grader.asked
    assert all(grade.correct for grade in grader.grade(pairs * 3))
    assert all(grade.correct for grade in grader.grade(pairs))
    assert grader.asked == before + 1


def test_numbers_need_no_math_verify():
    assert question(normal("1/2"), normal("0.51")) is None


def test_heavy_packages_are_imported_in_the_workers_only():
    code = (
        "import sys; from esr_cli.graders.math import MathGrader; g = MathGrader(1)\n"
        "g.grade([(r'\\boxed{x}', 'y')]); g.close()\n"
        "print({'sympy', 'math_verify', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = interpreter("-c", code)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_hostile_answer_affects_only_its_own_verdict(short_limit_grader):
    """The other items need a worker too, and get one."""
    short_limit_grader.grade([(r"\boxed{\sqrt{9}}", "3")])
    hostile = [r"\boxed{1.0E999999999}", r"\boxed{10^{10^{10}}}", r"\boxed{99999999!}"]
    pairs = []
    for number, text in enumerate(hostile):
        pairs += [(text, "7"), (f"\\boxed{{\\sqrt{{{(number + 2) ** 2}}}}}", str(number + 2))]
    grades = short_limit_grader.grade(pairs)
    assert [grade.correct for grade in grades] == [False, True] * 3
    assert all(
        grade.reason in ("timed out", "out of memory", "worker died") for grade in grades[::2]
    )
    asked = short_limit_grader.asked
    short_limit_grader.grade(pairs)
    assert short_limit_grader.asked == asked, "a timeout is cached"


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{" + "{" * 3000 + "5" + "}" * 3000 + "}",
        "\\boxed{" + "{" * 490 + "5+x" + "}" * 490 + "}",
        "\\boxed{" * 5000,
        "$" * 100_000,
        "\\boxed{\0}" + "\0" * 1000,
        "\\boxed{5$" + "$" * 900 + "}",
        r"\boxed{\begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}}",
        r"\boxed{\begin{pmatrix}",
        "\\boxed{6}" + "lorem ipsum {} " * 140_000,
        "\\boxed{\\frac{1}{" * 50,
        "\\boxed{" + "\\frac{1}{" * 40 + "x" + "}" * 40 + "}",
        "\ud800\\boxed{\ud800}",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_odd_responses_are_only_wrong(short_limit_grader, text):
    start = time.process_time()
    odd, even = short_limit_grader.grade([(text, "7"), (r"\boxed{7}", "7")])
    assert not odd.correct and even.correct
    assert time.process_time() - start < 8
