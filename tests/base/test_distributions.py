"""Beta and Student's t against closed forms and published tables."""

from __future__ import annotations

import math

import pytest

from esr_cli.base.distributions import beta_quantile, t_quantile, t_tail


def test_the_exact_bound_of_one_in_128():
    assert beta_quantile(0.025, 1, 128) == pytest.approx(1 - 0.975 ** (1 / 128))


@pytest.mark.parametrize(
    ("df", "t"), [(1, 12.7062), (2, 4.3027), (10, 2.2281), (15, 2.1314), (math.inf, 1.95996)]
)
def test_student_s_t_at_97_5_per_cent(df, t):
    assert t_quantile(0.975, df) == pytest.approx(t, abs=1e-4)
    assert t_tail(-t, df) == pytest.approx(0.975, abs=1e-5)


def test_one_and_two_degrees_of_freedom_have_a_closed_form():
    assert t_tail(3.0, 1) == pytest.approx(0.5 - math.atan(3.0) / math.pi)
    assert t_tail(3.0, 2) == pytest.approx(0.5 - 1.5 / math.sqrt(11))
