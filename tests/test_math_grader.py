"""Math answers: boxes, normal forms, the pool that may be killed, and the grader over them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from esr_cli.graders.boxed import LONGEST, boxes, first_box, last_box
from esr_cli.graders.math import MathGrader, question
from esr_cli.graders.normal import normal, spell
from esr_cli.graders.pool import Pool

SECONDS = 2.0


@pytest.fixture(scope="module")
def grader():
    grader = MathGrader(workers=2, seconds=20)
    yield grader
    grader.close()


@pytest.fixture(scope="module")
def impatient():
    """For items that never end; neighbours must still fit in the limit."""
    grader = MathGrader(workers=2, seconds=SECONDS)
    yield grader
    grader.close()


def verdict(grader: MathGrader, gold: str, answer: str) -> bool:
    return grader.grade([(f"So it is $\\boxed{{{answer}}}$.", gold)])[0].correct


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (r"\boxed{1} then \boxed{2}", ["1", "2"]),
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\fbox{3}", ["3"]),
        (r"\boxed {4}", ["4"]),
        (r"$\boxed 5$ and \(\boxed -7\)", ["5", "-7"]),
        (r"$\boxed5$", ["5"]),
        (r"put it in \boxed please", []),
        ("in \\boxed form\nas $5$", []),
        (r"in $\boxed$ notation", []),
        (r"\boxedx{4}", []),
        (r"\boxed{\{1,2\}}", [r"\{1,2\}"]),
        (r"\boxed{\left\{ 1 \right.}", [r"\left\{ 1 \right."]),
        (r"\boxed{6} and \boxed{7", ["6"]),
        (r"\boxed{ 8 \boxed{9}", ["9"]),
        (r"\boxed{x = \boxed{5}}", ["5"]),
        (r"a \\ \boxed{5} \\\boxed{6} \\boxed{7}", ["5", "6", "7"]),
        (r"} \boxed{5} {", ["5"]),
        (r"\boxed{}", [""]),
        ("\\boxed{5}\\boxed{" + "1" * LONGEST + "}", ["5", "1" * LONGEST]),
        ("\\boxed{5}\\boxed{" + "1" * (LONGEST + 1) + "}", ["5", ""]),
    ],
)
def test_boxes(text, held):
    assert boxes(text) == held
    assert (first_box(text), last_box(text)) == ((held or [None])[0], (held or [None])[-1])


HOSTILE_TEXTS = [
    "\\boxed{" * 5000,
    "\\boxed{" + "{" * 3000 + "5" + "}" * 3000 + "}",
    "$" * 100_000,
    "\0" * 100_000,
    "\\boxed " * 100_000,
    "\\boxed" + " " * 1_000_000,
    "\\" * 1_000_000,
    "\\frac" * 100_000,
    "{" * 1_000_000,
    "1,000" * 100_000,
    "1." * 200_000,
    "\\boxed{\\boxed{" * 3000 + "}" * 6000,
    "\\text{" * 100_000,
    "1 " * 500_000,
]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=lambda text: repr(text[:12]))
def test_text_of_any_shape_takes_linear_time(text):
    start = time.perf_counter()
    boxes(text)
    spell(text)
    normal(text[:LONGEST])
    # Each takes well under a second; quadratic time would take minutes.
    assert time.perf_counter() - start < 5


SAME = [
    (r"\dfrac12", r"\frac{1}{2}"),
    (r"\tfrac{a}{b}", r"\frac{a}{b}"),
    (r"\frac a{b}", r"\frac{a}b"),
    (r"\frac\pi2", r"\frac{\pi}{2}"),
    (r"\sqrt2+\sqrt[3]5", r"\sqrt{2}+\sqrt[3]{5}"),
    ("x^10", "x^{10}"),
    ("x^-1", "x^{-1}"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
    (r"\bigl(1, 2\bigr)", "(1,2)"),
    (r"x\,+\;y\quad", "x+y"),
    (r"x\!y", "xy"),
    (r"11,\! 111,\! 111", "11111111"),
    ("1,200", "1200"),
    ("1{,}200", "1200"),
    ("10 000", "10000"),
    (".5", "0.5"),
    ("3.00", "3"),
    ("3.10", "3.1"),
    ("3.10x", "3.1x"),
    ("3.", "3"),
    ("007", "7"),
    ("+7", "7"),
    ("0.5", r"\frac12"),
    ("1/2", r"\frac{-1}{-2}"),
    (r"-\frac{2}{4}", r"\frac{-1}{2}"),
    (r"1\frac{4}{5}", r"\frac95"),
    ("137 1/2", "137.5"),
    ("\u22123", "-3"),
    (r"2\times x", r"2\cdot x"),
    ("2*x", r"2\cdot x"),
    ("π/2", r"\pi/2"),
    (r"x \le 5", r"x\leq5"),
    (r"\lbrace 1 \rbrace", r"\{1\}"),
    ("{{7}}", "7"),
    ("$7$", "7"),
    (r"\(7\)", "7"),
    ("x=5", "5"),
    (r"x \in [-2,7]", "[-2,7]"),
    ("f(x) = 2x", "2x"),
    ("AB = 5", "5"),
    (r"5.4 \text{ cents}", "5.4"),
    (r"864 \mbox{ inches}^2", "864"),
    (r"15\mbox{ cm}^2", "15 square centimeters"),
    ("5 ft", "5 feet"),
    ("18 eggs", "18"),
    (r"5\text{ units}", "5"),
    (r"90^\circ", "90"),
    (r"90^\circ", "90 degrees"),
    (r"90\text{ deg}", "90 degrees"),
    (r"\$32,\!348", "32348"),
    (r"\$36", "36 dollars"),
    (r"50\%", "50"),
    ("50%", r"\frac12"),
    ("50 percent", r"50\%"),
    (r"\text{Even}", "even"),
    (r"\textbf{(C)}", "C"),
    (r"52_8", "52_{8}"),
    ("52_{10}", "52"),
    (r"12\pi \approx 37.7", r"12\pi"),
    ("0.333333", r"\frac13"),
    ("0.666667", "2/3"),
    ("0.666666", "2/3"),
]

NOT_SAME = [
    (r"5\text{ cm}", r"5\text{ m}"),
    (r"15\text{ cm}", r"15\text{ cm}^2"),
    (r"\$5", r"5\%"),
    ("x=5", "y=5"),
    ("3", r"3\text{ or more}"),
    ("5", "5 million"),
    ("3", "3ab"),
    ("3", "3 ab"),
    ("12", "1 2"),
    ("1,200", "1, 200"),
    ("(1,200)", "1200"),
    (r"\{1,200\}", r"\{1200\}"),
    ("1,2000", "12000"),
    (r"\frac12", r"\frac21"),
    (r"\frac{12}", r"\frac12"),
    ("x^{1}0", "x^{10}"),
    (r"\cot x", r"\cotx"),
    ("0.33", "1/3"),
    ("0.333334", "1/3"),
    ("0.000001", "1/700000"),
    (".0000672", ".000067"),
    (r"2\frac{5}{3}", r"\frac{11}{3}"),
    ("1/0", "2/0"),
    ("1/0", "1"),
    ("33333.3", "100000/3"),
    ("x^2 abcd", "x^2"),
    ("52_8", "52"),
    ("x", "X"),
    ("5!", "5"),
    (r"x \approx 5", "x"),
    ("", ""),
    (r"\text{ }", ""),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_spellings_of_one_answer(one, two):
    assert normal(one).same(normal(two)) and normal(two).same(normal(one))


@pytest.mark.parametrize(("one", "two"), NOT_SAME)
def test_spellings_of_two_answers(one, two):
    assert not normal(one).same(normal(two)) and not normal(two).same(normal(one))


@pytest.mark.parametrize("text", [text for pair in SAME + NOT_SAME for text in pair])
def test_a_normal_form_is_its_own(text):
    assert normal(normal(text).text).text == normal(text).text


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
    ("3R^2", "3r^2"),
    ("5", "x+y=5"),
]

WRONG = [
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
def test_what_math_verify_or_a_shortcut_would_take_for_equal_is_wrong(grader, gold, answer):
    assert not verdict(grader, gold, answer)


def test_the_gold_comes_first(grader):
    """math-verify turns a relation into a set only where the relation is the gold."""
    assert verdict(grader, "x>5", r"(5,\infty)")
    assert not verdict(grader, r"(5,\infty)", "x>5")


def test_equal_is_symmetrical(grader):
    pairs = [("x>5", r"(5,\infty)"), ("1/2", "0.5"), ("p-q", "-q+p"), ("5", "6"), ("5", "3 4")]
    there = grader.equal(pairs)
    assert there == [True, True, True, False, False]
    assert grader.equal([(two, one) for one, two in pairs]) == there


def test_the_last_box_is_graded_and_the_others_told(grader):
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
    ("response", "gold", "stands"),
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
def test_anywhere(grader, response, gold, stands):
    grade = grader.grade([(response, gold)])[0]
    assert grade.also["anywhere"] is stands and not grade.correct


def test_anywhere_asks_for_few_boxes_but_reads_all(grader):
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


def test_nothing_heavy_is_loaded_here():
    code = (
        "import sys; from esr_cli.graders.math import MathGrader; g = MathGrader(1)\n"
        "g.grade([(r'\\boxed{x}', 'y')]); g.close()\n"
        "print({'sympy', 'math_verify', 'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_each_hostile_answer_costs_itself_alone(impatient):
    """The neighbours need a worker too, and get one."""
    impatient.grade([(r"\boxed{\sqrt{9}}", "3")])
    hostile = [r"\boxed{1.0E999999999}", r"\boxed{10^{10^{10}}}", r"\boxed{99999999!}"]
    pairs = []
    for number, text in enumerate(hostile):
        pairs += [(text, "7"), (f"\\boxed{{\\sqrt{{{(number + 2) ** 2}}}}}", str(number + 2))]
    start = time.perf_counter()
    grades = impatient.grade(pairs)
    assert [grade.correct for grade in grades] == [False, True] * 3
    assert all(
        grade.reason in ("timed out", "out of memory", "worker died") for grade in grades[::2]
    )
    # Three items of two seconds on two workers, and two new workers.
    assert time.perf_counter() - start < 3 * SECONDS + 15
    start = time.perf_counter()
    impatient.grade(pairs)
    assert time.perf_counter() - start < 1, "a timeout is remembered"


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
def test_odd_responses_are_only_wrong(impatient, text):
    start = time.perf_counter()
    odd, even = impatient.grade([(text, "7"), (r"\boxed{7}", "7")])
    assert not odd.correct and even.correct
    assert time.perf_counter() - start < SECONDS + 8


def make_worker():
    def work(item):
        what, value = item
        if what == "sleep":
            time.sleep(value)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "eat":
            return len(bytearray(value))
        if what == "raise":
            raise KeyError(value)
        if what == "pid":
            return os.getpid()
        return value

    return work


def make_nothing():
    raise ImportError("no such package")


@pytest.fixture
def pool():
    pool = Pool(make_worker, workers=2, seconds=1, memory_gib=1)
    yield pool
    pool.close()


def gone(pids: list[int]) -> bool:
    """Neither running nor a zombie."""
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_an_item_that_hangs_dies_or_eats_costs_itself(pool):
    bad = [("sleep", 60), ("die", 0), ("eat", 2**31), ("raise", "why")]
    items = [("give", 0), *(item for n, one in enumerate(bad, 1) for item in (one, ("give", n)))]
    outcomes = pool.map(items)
    assert [outcome.value for outcome in outcomes[::2]] == [0, 1, 2, 3, 4]
    assert [outcome.failure for outcome in outcomes[1::2]] == [
        "timed out", "worker died", "out of memory", "KeyError: 'why'",
    ]  # fmt: skip


def test_a_worker_killed_from_outside_is_replaced(pool):
    first = {outcome.value for outcome in pool.map([("pid", 0)] * 20)}
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert [outcome.value for outcome in pool.map([("give", n) for n in range(20)])] == [*range(20)]
    assert gone(list(first))


def test_a_worker_killed_while_it_starts_is_replaced(pool):
    def kill_the_first():
        while not pool.pids:
            time.sleep(0.001)
        os.kill(pool.pids[0], signal.SIGKILL)

    threading.Thread(target=kill_the_first).start()
    assert [outcome.value for outcome in pool.map([("give", n) for n in range(9)])] == [*range(9)]


def test_a_worker_killed_in_the_middle_of_a_batch(pool):
    pool.map([("give", 0)] * 2)
    victim = pool.pids[0]
    threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
    outcomes = pool.map([("sleep", 0.6)] * 2 + [("give", n) for n in range(50)])
    assert [outcome.failure for outcome in outcomes].count("worker died") == 1
    assert [outcome.value for outcome in outcomes[2:]] == list(range(50))
    assert victim not in pool.pids and gone([victim])


def test_workers_ignore_ctrl_c_and_start_lazily(pool):
    assert pool.pids == []
    assert pool.map([]) == [] and pool.pids == []
    pool.map([("give", 0)])
    assert len(pool.pids) == 1
    timer = threading.Timer(0.2, os.kill, (pool.pids[0], signal.SIGINT))
    timer.start()
    assert pool.map([("sleep", 0.5)])[0].failure is None


def test_threads_take_turns_and_small_items_are_fast(pool):
    pool.map([("give", 0)] * 2)
    results: dict[int, list[int]] = {}

    def use(thread: int) -> None:
        items = [("give", thread * 10_000 + n) for n in range(1000)]
        results[thread] = [outcome.value for outcome in pool.map(items)]

    start = time.perf_counter()
    threads = [threading.Thread(target=use, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: list(range(n * 10_000, n * 10_000 + 1000)) for n in range(4)}
    assert time.perf_counter() - start < 8


def test_close_leaves_no_process_and_the_pool_usable(pool):
    pool.map([("give", 0)] * 2)
    before = pool.pids
    pool.close()
    assert before and gone(before) and pool.pids == []
    pool.close()
    assert pool.map([("give", 7)])[0].value == 7


def test_an_interrupted_call_leaves_nothing_for_the_next(pool):
    pool.map([("give", 0)])

    class Stop(Exception):
        pass

    def interrupt(*_):
        raise Stop

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(Stop):
            pool.map([("sleep", 0.8)])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert pool.map([("give", 5)])[0].value == 5


def test_workers_end_with_their_owner():
    code = (
        "import os; from esr_cli.graders.math import MathGrader; g = MathGrader(1)\n"
        "g.grade([(r'\\boxed{x+1}', '1+x')]); print(*g._pool.pids, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pids = [int(pid) for pid in done.stdout.split()]
    limit = time.monotonic() + 5
    while not gone(pids) and time.monotonic() < limit:
        # An orphan that ended stays a zombie where the system's first process does not collect it.
        if all("Z" in Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in pids):
            return
        time.sleep(0.05)
    assert pids and gone(pids), done.stderr


def test_a_worker_that_cannot_start_says_why():
    pool = Pool(make_nothing, workers=1)
    with pytest.raises(RuntimeError, match="no such package"):
        pool.map([1])
    assert pool.pids == []


DATA = os.environ.get("ESR_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="ESR_DATA names no folder")


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (Path(DATA or "") / name).read_text().splitlines()]


def wrongly_graded(grader: MathGrader, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    grades = grader.grade(pairs)
    return [pair for pair, grade in zip(pairs, grades, strict=True) if not grade.correct]


@needs_data
def test_every_gold_of_math500_is_right(grader):
    data = rows("math500.jsonl")
    assert len(data) == 500
    boxed = [(f"\\boxed{{{row['answer']}}}", row["answer"]) for row in data]
    solved = [(row["solution"], row["answer"]) for row in data]
    assert wrongly_graded(grader, boxed) == [] and wrongly_graded(grader, solved) == []


@needs_data
def test_every_gold_of_gsm8k_is_right(grader):
    golds = [row["answer"].split("####")[1].strip() for row in rows("gsm8k_test.jsonl")]
    assert len(golds) == 1319
    for form in (
        "{}",
        "{:,}",
        r"\${}",
        r"\${:,}",
        "{}.00",
        r"\${:,}.00",
        "x = {}",
        r"{}\text{{ eggs}}",
    ):
        forms = [form.format(int(gold.replace(",", ""))) for gold in golds]
        pairs = [(f"\\boxed{{{text}}}", gold) for text, gold in zip(forms, golds, strict=True)]
        assert wrongly_graded(grader, pairs) == [], form


@needs_data
def test_no_gold_of_math500_is_right_for_the_next_question(grader):
    golds = [row["answer"] for row in rows("math500.jsonl")]
    pairs = list(zip(golds, [*golds[1:], golds[0]], strict=True))
    grades = grader.grade([(f"\\boxed{{{gold}}}", other) for gold, other in pairs])
    right = [pair for pair, grade in zip(pairs, grades, strict=True) if grade.correct]
    assert {pair for pair in right if pair[0] != pair[1]} == {("5", "x=5")}
    assert len(right) == 1 + sum(gold == other for gold, other in pairs)
