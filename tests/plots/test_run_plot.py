"""Plots of a run folder."""

from __future__ import annotations

import json

from esr_cli.plots import run as plots


def test_a_run_without_evaluations_still_has_its_other_plots(tmp_path):
    phases = {f"time/{phase}_s": 0.1 for phase in plots.PHASES}
    row = {"step": 1, "train/reverse_kl": 0.5, **phases}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert [path.stem for path in plots.draw(tmp_path)] == ["loss", "phase_times"]
