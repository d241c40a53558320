"""95 % intervals hold the true value 95 % of the time, by simulation."""

from __future__ import annotations

import runpy

import pytest
from conftest import ROOT

MEASURE = runpy.run_path(str(ROOT / "scripts" / "measure_coverage.py"))
SETTINGS = list(MEASURE["settings"]())
REPEATS = 150


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_intervals_hold_the_true_value(setting):
    # Three standard errors of a share of 0.95 below it, and one interval that does not hold.
    found = setting.coverage(REPEATS)
    assert found > 0.95 - 3 * (0.95 * 0.05 / REPEATS) ** 0.5
    assert setting.conservative or found < 1
