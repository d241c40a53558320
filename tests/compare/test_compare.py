"""`esr compare` on the command line."""

from __future__ import annotations

import json

from conftest import esr


def test_compare_of_the_same_responses_is_within_noise(unbroken, tmp_path):
    evaluated = esr(
        "eval", f"run={unbroken}", "rollout=eager", "checkpoints=last", "benchmark=lab", "limit=4",
        "benchmark.lab.samples=1", "out=last", cwd=tmp_path,
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stdout + evaluated.stderr
    same = esr("compare", f"a={unbroken}", f"b={tmp_path / 'last'}")
    assert same.returncode == 0 and "within noise" in same.stdout, same.stderr
    # Four equal questions leave a wide interval for the others.
    assert "+0.000 [-0.566, +0.566]" in same.stdout
    none = esr("compare", f"a={unbroken}", f"b={unbroken}", "b_step=7")
    assert none.returncode == 2 and "holds no evaluation at step 7" in none.stderr


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_compare_is_paired_and_warns_of_different_settings(tmp_path):
    for name, right, settings in (("a", 0, "s"), ("b", 1, "t")):
        (tmp_path / name).mkdir()
        generations = [
            {"id": str(i), "step": 0, "benchmark": "m", "correct": [bool(right or i % 2)]}
            for i in range(40 + right)
        ]
        write(tmp_path / name / "generations.jsonl", generations)
        row = {"step": 0, "benchmark": "m", "metric": "avg@1", "settings": settings}
        write(tmp_path / name / "eval.jsonl", [row])
    done = esr("compare", "a=a", "b=b", cwd=tmp_path)
    assert "b is better" in done.stdout and "+0.500" in done.stdout, done.stdout
    assert "1 questions were answered by only one" in done.stdout, done.stdout
    assert "not comparable" in done.stdout, done.stdout
