"""`esr compare` over the runs of two folders: seeds are the unit."""

from __future__ import annotations

import math

import pytest
from conftest import esr
from run_folders import write_run

from esr_cli.compare.command import run
from esr_cli.compare.sides import read_side
from esr_cli.config import CompareConfig, ConfigError

RIGHT, WRONG = [1, 1], [0, 0]


def sweep(folder, shares, *overrides, seeds=(0, 1, 2), questions=100):
    """One run per seed, of whose questions a share is right at the last step."""
    for seed, share in zip(seeds, shares, strict=True):
        right = [RIGHT if i < share * questions else WRONG for i in range(questions)]
        write_run(folder / str(seed), f"seed={seed}", *overrides, right={0: [WRONG], 2: right})
    return folder


def compared(capsys, a, b) -> str:
    run(CompareConfig(a=str(a), b=str(b)), [])
    return " ".join(capsys.readouterr().out.split())


def bounds(text: str) -> tuple[float, float]:
    # The intervals of a, of b, and of b - a.
    low, high = text.split("[")[3].split("]")[0].split(", ")
    return float(low) / 100, float(high) / 100


def test_the_spread_of_the_paired_differences_over_seeds_is_in_the_interval(tmp_path, capsys):
    a = sweep(tmp_path / "a", (0.2, 0.3, 0.4), "+rollout_len=32")
    same = compared(capsys, a, sweep(tmp_path / "b", (0.6, 0.7, 0.8), "+rollout_len=64"))
    # Each seed gains 0.4, so seeds as such differ by 0.1 and their differences by nothing.
    assert "+40.0" in same and "is better" in same and "one run each" not in same
    low, _ = bounds(same)
    assert low > 0.25
    wide = compared(capsys, a, sweep(tmp_path / "c", (0.8, 0.9, 0.4), "+rollout_len=64"))
    # Gains of 0.6, 0.6 and 0: standard error 0.2, and t of two degrees of freedom is 4.303.
    assert "+40.0" in wide and "within noise" in wide and "three seeds or fewer" in wide
    low, high = bounds(wide)
    assert low < 0.4 - 4.3 * 0.18 and high == 1.0


def test_sides_without_a_shared_seed_are_independent(tmp_path, capsys):
    a = sweep(tmp_path / "a", (0.2, 0.3, 0.4), "+rollout_len=32")
    b = sweep(tmp_path / "b", (0.6, 0.7, 0.8), "+rollout_len=64", seeds=(5, 6, 7))
    text = compared(capsys, a, b)
    # Welch: two standard errors of 0.1/√3, and four degrees of freedom with a t of 2.776.
    half = 2.776 * 0.1 * math.sqrt(2 / 3)
    low, high = bounds(text)
    assert "b shares no seed with a" in text
    assert high - low > 2 * half and low == pytest.approx(0.4 - half, abs=0.06)


def test_seeds_of_one_side_and_unfinished_runs_are_left_out_and_said(tmp_path, capsys):
    a = sweep(tmp_path / "a", (0.2, 0.3, 0.4, 0.9), "+rollout_len=32", seeds=(0, 1, 2, 3))
    b = sweep(tmp_path / "b", (0.6, 0.7, 0.8), "+rollout_len=64")
    write_run(b / "cut", "seed=3", "+rollout_len=64", right={2: [RIGHT]}, state="unfinished")
    text = compared(capsys, a, b)
    assert "1 run of b not complete" in text
    assert "alone has are ignored in their difference: 3" in text
    assert "+40.0" in text


def test_students_of_a_population_are_the_unit_each_the_mean_of_its_seeds(tmp_path, capsys):
    sides = {"a": "+rollout_len=32", "b": "+rollout_len=64"}
    for side, length in sides.items():
        for student, share in (("x", 0.2), ("y", 0.4), ("z", 0.6)):
            gain = 0.3 if side == "b" else 0.0
            shares = (round(share + gain, 1), round(share + gain + 0.1, 1))
            sweep(tmp_path / side / student, shares, length,
                  "pair.population=all", f"pair.student.path={student}", seeds=(0, 1))  # fmt: skip
    text = compared(capsys, tmp_path / "a", tmp_path / "b")
    # Three students, not six runs: their means of two seeds differ by 0.3 each.
    assert "students" in text and "lab, 100 questions" in text and "│ b │ 3 │" in text, text
    assert "45.0 [" in text and "75.0 [" in text and "+30.0" in text and "is better" in text
    seeds = sweep(tmp_path / "seeds", (0.5, 0.6), "+rollout_len=32", seeds=(0, 1))
    with pytest.raises(ConfigError, match=r"over seeds, and a=.* over students"):
        run(CompareConfig(a=str(tmp_path / "a"), b=str(seeds)), [])
    side = read_side("a", str(tmp_path / "a"), None)
    assert list(side.by_seed) == ["x", "y", "z"] and side.unit == "student"
    sweep(tmp_path / "a/none", (0.5,), "+rollout_len=32", "pair.student.path=x", seeds=(0,))
    with pytest.raises(ConfigError, match=r"differ in pair\.(population|student)"):
        read_side("a", str(tmp_path / "a"), None)


def test_mixed_settings_are_refused(tmp_path):
    mixed = sweep(tmp_path / "mixed", (0.2, 0.3), "+rollout_len=32", seeds=(0, 1))
    write_run(mixed / "other", "seed=2", "+rollout_len=64", right={2: [RIGHT]})
    with pytest.raises(ConfigError, match=r"differ in rollout\.max_tokens \(32 and 64\)"):
        read_side("a", str(mixed), None)
    twice = sweep(tmp_path / "twice", (0.2, 0.3), seeds=(0, 1))
    write_run(twice / "again", "seed=1", right={2: [RIGHT]})
    with pytest.raises(ConfigError, match="seed 1 more than once"):
        read_side("b", str(twice), None)
    steps = sweep(tmp_path / "steps", (0.2, 0.3), seeds=(0, 1))
    write_run(steps / "longer", "seed=2", right={2: [RIGHT], 4: [RIGHT]})
    with pytest.raises(ConfigError, match="at steps 2 and 4; choose one with a_step="):
        read_side("a", str(steps), None)
    assert sorted(read_side("a", str(steps), 2).by_seed) == [0, 1, 2]


def test_a_sweep_is_not_compared_with_one_run(tmp_path):
    many = sweep(tmp_path / "many", (0.2, 0.3), seeds=(0, 1))
    done = esr("compare", f"a={many}", f"b={many / '0'}")
    assert done.returncode == 2 and "is one run, and a=" in done.stderr, done.stderr
    alone = sweep(tmp_path / "alone", (0.2,), seeds=(0,))
    done = esr("compare", f"a={many}", f"b={alone}")
    assert done.returncode == 2 and "holds complete runs of one seed" in done.stderr, done.stderr


def test_one_seed_never_makes_a_training_better(tmp_path, capsys):
    a = sweep(tmp_path / "a", (0.0,), "+rollout_len=32", seeds=(0,))
    b = sweep(tmp_path / "b", (1.0,), "+rollout_len=64", seeds=(0,))
    text = compared(capsys, a / "0", b / "0")
    assert "answers better" in text and "is better" not in text
    assert "no other seeds" in text and "not ways of training" in text
