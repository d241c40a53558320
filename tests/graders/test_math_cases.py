"""Pairs of answers that people judge at once, and near misses: never a false right."""

from __future__ import annotations

import pytest

from esr_cli.graders.math import MathGrader

EQUAL = [
    (r"\text{3:30 p.m.}", r"\text{3:30 PM}"), (r"3:30\text{ pm}", "3:30 p.m."),
    ("5", r"5\text{ apples}"), ("5", "5 cm"), ("5", r"5\,\text{cm}"), ("5", r"\$5"), ("5", "$5$"),
    ("1234", "1,234"), ("(1,2)", "(1, 2)"), ("1,2", "2,1"), ("1,2", r"\{1,2\}"),
    ("1,2", r"1\text{ and }2"), ("x=1,2", r"x=1\text{ or }x=2"), ("0.5", r"\frac12"),
    (r"50\%", "0.5"), ("5", "5.0"), ("5", r"5\text{ square meters}"), ("5", r"5\text{ m}^2"),
    ("5", r"5\text{ m^2}"), ("5", r"5 \mathrm{m/s}"), ("5", r"5\ \mathrm{km}"),
    (r"(2,\infty)", "x>2"), ("x>2", r"(2,\infty)"), ("[1,2)", r"1\le x<2"), (r"1\le x<2", "[1,2)"),
    (r"(-\infty,1)\cup(2,\infty)", r"x<1\text{ or }x>2"), ("2,3,4", "2, 3, and 4"),
    (r"\frac{2}{3}", "2/3"), (r"2\frac12", "5/2"), ("2.5", r"2\frac{1}{2}"),
    (r"\text{Monday}", "Monday"), (r"\text{(A)}", "A"), ("A", r"\textbf{(A)}"), ("A", "(A) 5"),
    (r"\sqrt{2}/2", r"\frac{\sqrt2}{2}"), (r"\pi/4", r"\frac{\pi}{4}"), ("x^2-1", "(x-1)(x+1)"),
    ("-1/2", r"-\frac{1}{2}"), ("1000000", r"1\text{ million}"), ("3", r"3\text{ hours}"),
    ("8:00", r"8:00\text{ pm}"), ("90", r"90^\circ"), ("y=x+1", "x+1"), ("y=x+1", "y - x = 1"),
    ("1/3", r"0.\overline{3}"), ("0.333333333", r"\frac13"), ("2^{10}", "1024"),
    (r"\emptyset", r"\{\}"), ("ab", "ba"), ("2ab", "2ba"), ("12", r"12\text{ people}"),
    ("12", r"12 \text{ ways}."), ("x", "x"),
    # Collections: named, set-builder, absolute value, holes, unions with points, vectors, cases.
    ("(a,b)=(2,-1)", "(b,a)=(-1,2)"), ("(a,b)=(2,-1)", "b=-1, a=2"), ("(2,-1)", "x=2, y=-1"),
    ("[0,5)", r"\{x : 0 \le x < 5\}"), (r"\{x \in \mathbb{R} \mid x>3\}", r"(3,\infty)"),
    (r"(-\infty,-2)\cup(2,\infty)", "|x|>2"), (r"[-\sqrt{3},\sqrt{3}]", r"|t| \le \sqrt3"),
    (r"(0,4)\cup(4,9)", r"0<x<9, x \ne 4"), (r"x \ne 1", r"(-\infty,1)\cup(1,\infty)"),
    (r"[2,5]\cup\{7\}", r"2 \le x \le 5 \text{ or } x=7"), ("x<7", "x ∈ (-∞, 7)"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}",
     r"M=\begin{bmatrix}1&2\\[4pt]3&4\\\end{bmatrix}"),
    (r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}^T"),
    (r"2\mathbf{i}-3\mathbf{j}+\mathbf{k}", r"\langle 2,-3,1 \rangle"),
    (r"3\hat{\imath}+4\hat{\jmath}", r"4\vec{j}+3\vec{i}"),
    ("1260", r"\begin{array}{c}1260\end{array}"),
    (r"\begin{cases} x & x>0 \\ 2 & x\le0 \end{cases}",
     r"f(x)=\begin{cases} x, & \text{if } x>0,\\ 2, & \text{if } x\le0.\end{cases}"),
    (r"\text{2, 4, and 9}", "2,4,9"), (r"2\text{, }4\text{, and }9", "9,4,2"),
    ("A, C", r"\text{A and C}"),
    # Units: products, quotients, several at once.
    (r"9.8\text{ m/s}^2", r"9.8\ \mathrm{m\,s^{-2}}"),
    (r"9.8\text{ m/s}^2", r"9.8\,\frac{\text{m}}{\text{s}^2}"),
    (r"36\text{ cm}^2", r"36\text{ sq. cm}"), (r"65\text{ mph}", r"65\ \frac{\text{mi}}{\text{h}}"),
    (r"2\text{ hours }30\text{ minutes}", r"2.5\text{ hours}"), ("30^\\circ 15'", r"30.25^\circ"),
    (r"\$12.50", r"12\text{ dollars and }50\text{ cents}"), (r"68^\circ", r"68^\circ\text{F}"),
    # Other kinds of values.
    (r"x \equiv 3 \pmod{8}", r"3 \pmod 8"),
    (r"x \equiv 3 \pmod{8}", r"x\equiv 11\ (\mathrm{mod}\ 8)"),
    (r"\frac12-\frac32i", r"\frac{1-3i}{2}"),
    (r"e^{i\pi/4}", r"\frac{\sqrt2}{2}+\frac{\sqrt2}{2}i"),
    (r"1101_2", r"(1101)_{\text{two}}"), ("x=5", "2x=10"), (r"\text{(B)}", r"\textbf{(B)}\ 17"),
    (r"\frac34", r"\textbf{(D)}\ \frac34"), (r"\text{(B)}", r"\text{Option B}"),
    ("f'(x)", r"f^{\prime}(x)"), ("-4", r"\text{negative }4"),
    ("8000", r"\text{The answer is } 8000"),
    (r"\text{March 14}", r"\text{March 14th}"), (r"7^{\text{th}}", r"\text{7th}"),
    (r"\text{ellipse}", r"\text{an ellipse}"), ("4", r"\text{4 apples, since } 2+2=4"),
]  # fmt: skip
DIFFERENT = [
    ("5", r"5\text{ halves}"), ("5", r"5\text{ percent of }x"), ("5", "5!"), ("5", "5x"),
    ("5", "-5"), ("5", "50"), ("5", "5,6"), ("5", r"\pm5"), ("5", r"5\pi"), ("5", "5^{2}"),
    ("5", "5_{2}"), ("5", r"5\text{ or }6"), ("5", r"5\text{ million}"), ("5", "5 million"),
    ("5", r"5\text{ (million)}"), ("5", r"5\text{ pairs of 2}"), ("5", r"5\text{th}"),
    ("5", r"5\text{ squared}"), ("5", r"5\text{ dozen}"), ("5", "x>5"), ("5", "5<x"),
    ("[1,2]", "1<x<2"), ("(1,2)", r"x>1 \text{ or } x<2"), (r"(1,\infty)", r"x\ge1"),
    ("(1,2)", "(2,1)"), ("(1,2)", "(a,b)=(2,1)"), ("(1,2)", "A(2,1)"), ("1,2", "1"), ("1,2", "2"),
    ("1,2,3", "1,2"), (r"\text{ABC}", "ACB"), (r"\text{no}", r"\text{on}"), ("no", "on"),
    (r"\text{yes}", r"\text{no}"), ("x", "X"), ("a", "b"), (r"\pi r^2", r"\pi R^2"),
    (r"0.\overline{3}", "0.3"), (r"0.\overline{36}", "0.36"), ("1", "0.999"), (r"\frac13", "0.33"),
    ("1000", "1,0,0,0"), ("1,234", "1234.5"), ("12,345", "12.345"), ("100200", "100,200,0"),
    (r"\sqrt{13}", "√1·3"), (r"\sqrt{13}", r"\sqrt{1}3"), ("3:4", "4:3"), ("3:4", r"\frac43"),
    ("7:15", "7:51"), (r"7:15\text{ a.m.}", r"7:15\text{ p.m.}"), (r"\$5", "£5"),
    (r"5\text{ cm}", r"5\text{ m}"), (r"60\text{ mph}", r"60\text{ km/h}"), ("B", "A: 5"),
    ("B", "C"), ("B", r"\text{(C) B}"), ("5", r"\text{(B) } 6"), ("5", r"\text{Area}=6"),
    ("5", r"\text{Answer: }-5"), ("4", r"4 \text{ (since } 5)+1"), ("4", r"\text{not }4"),
    ("4", r"\neq 4"), ("4", "4+1"), ("6-5i", "6+5i"), ("6-5i", "6-5"), ("5i", "5"),
    (r"1\pm\sqrt2", r"1+\sqrt2"), (r"1\pm\sqrt2", r"-1\pm\sqrt2"), ("52_8", "52"),
    ("52_8", "52_9"), (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"), ("x=5", "y=6"),
    ("x^2+y^2=1", "x^2-y^2=1"), ("2x+3", "2x-3"), ("y=2x+3", "x=2y+3"), ("2^3", "2^4"),
    ("10^{-5}", "10^{5}"), ("1e-3", "1e3"), ("0.001", "1e3"), (r"45^\circ", r"45^\circ1"),
    (r"\frac{\pi}{4}", "45"), ("14", r"14\text{ m}\cdot 2"), ("14", "14 m 2"),
    ("5", r"5\text{ thousand}"), ("5", r"5\text{ k}"), ("5", r"5\text{ to }6"),
    ("5", r"5\text{-}6"), ("5", r"5\text{ mod }7x"), ("5", r"5\text{ apples and 3 pears}"),
    ("5", "5 and 6"), ("16", r"\text{16th}"), ("0.5", r"5\%"), ("3", r"3\text{ below zero}"),
    ("3", r"3\text{ degrees below}"), (r"\text{east}", r"\text{west}"),
    (r"\text{Monday}", r"\text{Tuesday}"), (r"(-\infty,\infty)", r"\mathbb{Q}"),
    (r"\mathbb{R}", r"\mathbb{Z}"), ("30", r"30\text{ cents}5"),
    ("(a,b)=(2,-1)", "(b,a)=(2,-1)"), ("(2,-1)", "x=-1, y=2"), ("[0,5)", r"\{x : 0 < x < 5\}"),
    (r"(-\infty,-2)\cup(2,\infty)", r"|x|\ge2"), (r"(0,4)\cup(4,9)", "0<x<9"),
    (r"[2,5]\cup\{7\}", r"2 \le x \le 5 \text{ or } x=8"), (r"\emptyset", r"\{\emptyset\}"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}^T"),
    (r"\langle 2,-3,1 \rangle", r"2\mathbf{i}+\mathbf{j}-3\mathbf{k}"), ("3+4i", "(3,4)"),
    (r"\begin{cases} x & x>0 \\ 2 & x\le0 \end{cases}",
     r"\begin{cases} x & x>0 \\ 2 & x<0 \end{cases}"),
    (r"9.8\text{ m/s}^2", r"9.8\text{ m/s}"), (r"9.8\text{ m/s}", r"9.8\text{ s/m}"),
    (r"2\text{ hours }30\text{ minutes}", r"2.3\text{ hours}"),
    ("5", r"5\text{ feet }3\text{ inches}"),
    ("30^\\circ 15'", r"30.15^\circ"), (r"68^\circ\text{F}", r"68^\circ\text{C}"),
    (r"x \equiv 3 \pmod{8}", r"x \equiv 3 \pmod 7"), (r"x \equiv 3 \pmod{8}", "11"),
    (r"\frac12-\frac32i", r"\frac{1+3i}{2}"), ("1101_2", r"1101_{\text{three}}"), ("x=5", "2x=5"),
    (r"\text{(B)}", r"\textbf{(C)}\ 17"), (r"\delta", r"\Delta"), ("2:3:5", "2:5:3"),
    ("10:05", "10:5"),
    ("4", r"\text{negative }4"), (r"\text{March 14}", r"\text{March 4th}"), ("5", r"5\text{K}"),
    (r"\text{even}", r"\text{seven}"),
]  # fmt: skip


@pytest.fixture(scope="module")
def grader():
    made = MathGrader(workers=2)
    yield made
    made.close()


def test_equal_answers_in_any_notation_are_right(grader):
    assert [pair for pair, same in zip(EQUAL, grader.equal(EQUAL), strict=True) if not same] == []


def test_what_changes_an_answer_is_never_left_out(grader):
    same = grader.equal(DIFFERENT)
    assert [pair for pair, equal in zip(DIFFERENT, same, strict=True) if equal] == []


@pytest.mark.parametrize(
    ("gold", "response", "right"),
    [
        ("1,-2", r"The solutions are \boxed{1} and \boxed{-2}.", True),
        ("1,-2", r"$x=\boxed{-2}$ or $x=\boxed{1}$", True),
        ("1,-2", r"\boxed{1}, \boxed{2}", False),
        ("1,-2", r"\boxed{1} or \boxed{1}", False),
        ("1,-2", r"\boxed{1}, \boxed{-2}, \boxed{3}", False),
        ("(1,-2)", r"\boxed{1} and \boxed{-2}", False),
        ("5", r"\boxed{4} and \boxed{5}", True),
    ],
)
def test_a_list_may_be_split_over_boxes(grader, gold, response, right):
    assert grader.grade([(response, gold)])[0].correct == right
