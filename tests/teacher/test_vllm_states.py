"""vLLM's pooling runner in a worker gives the states of our own passes."""

from __future__ import annotations

from conftest import SHORT, esr, rows


def test_a_run_with_a_teacher_on_vllm_has_the_losses_of_our_own_passes(tmp_path):
    losses = {}
    # A teacher in a process scores the shorter responses while the longer ones are sampled.
    for kind, place in (("local", "inline"), ("vllm", "process")):
        done = esr(
            "train", *SHORT, "rollout=eager", "execution.engine=inline", "tracking=none", "steps=4",
            "lengths.schedule=random", f"teacher={kind}", f"execution.teacher={place}",
            f"run_dir={kind}", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        losses[kind] = [row["train/loss"] for row in rows(tmp_path / kind)]
    assert max(abs(a - b) for a, b in zip(*losses.values(), strict=True)) < 1e-5
    last = rows(tmp_path / "vllm")[-1]
    assert last["teacher/canary_gap"] < 1e-5 and last["teacher/quantized"] == 0
