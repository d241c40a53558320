"""Normal forms of math answers: which spellings are the same answer."""

from __future__ import annotations

import pytest

from esr_cli.graders.normal import normal

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
def test_normalising_is_idempotent(text):
    assert normal(normal(text).text).text == normal(text).text
