"""Bootstrap sums, and intervals without a finite resample."""

from __future__ import annotations

import numpy as np

from esr_cli.base.statistics import RESAMPLES, interval, resampled_sums


def test_resampled_sums_equal_sums_over_resampled_rows():
    rows = np.random.default_rng(1).normal(size=(7, 3))
    picks = np.random.default_rng(0).integers(7, size=(RESAMPLES, 7))
    assert np.allclose(resampled_sums(rows), rows[picks].sum(1))
    assert interval(0.5, np.array([np.nan, np.inf])) == (0.5, 0.5, 0.5)
