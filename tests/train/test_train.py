"""`esr train` from end to end: complete, killed and resumed runs, and failing workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import INLINE, ROOT, SHORT, esr, read, rows, same_end, start, wait_for_step
from transformers import AutoModelForCausalLM

from esr_cli.train.gauge import Gauge, comparable


def children(pid: int) -> dict[str, int]:
    """The worker processes of a run, in the order of their start: engine, then teacher."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    spawned = []
    for child in map(int, listed):
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            spawned.append(child)
    return dict(zip(("engine", "teacher"), sorted(spawned), strict=True))


def test_a_run_writes_all_its_files(unbroken):
    summary = json.loads((unbroken / "summary.json").read_text())
    assert summary["steps"] == 30 and summary["before"]["lab"]["step"] == 0
    assert [row["step"] for row in rows(unbroken)] == list(range(1, 31))
    assert all(row["rollout/logprob_gap_max"] < 1e-4 for row in rows(unbroken))
    AutoModelForCausalLM.from_pretrained(unbroken / "student")
    plots = {path.stem for path in (unbroken / "plots").iterdir()}
    assert plots == {"loss", "kl_by_position", "accuracy", "phase_times"}
    kept = sorted(path.name for path in (unbroken / "checkpoints").iterdir())
    assert kept == ["step-000028", "step-000030"]
    assert list(unbroken.glob("wandb/offline-run-*"))
    log = (unbroken / "esr.log").read_text()
    ready, evaluated = log.index("engine and teacher ready in "), log.index("step 0: lab avg@")
    assert log.index("starting the engine (eager)") < ready < evaluated
    assert (unbroken / "engine.log").exists() and (unbroken / "teacher.log").exists()


def test_early_rollouts_are_sampled_from_the_weights_before_the_update(unbroken, tmp_path):
    done = esr(
        "train", "rollout=eager", "tracking=none", *SHORT, "steps=6", "save_every=3", "run_dir=run",
        "rollout.staleness=1", "strict=true", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    gaps = [row["rollout/logprob_gap_max"] for row in rows(tmp_path / "run")]
    # No rollout is sampled across a checkpoint, so that a resumed run samples the same ones.
    stale = [row["rollout/stale"] for row in rows(tmp_path / "run")]
    assert stale == [0, 1, 1, 0, 1, 1] and [gap > 1e-4 for gap in gaps] == list(map(bool, stale))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["logprob_gap_max"] < 1e-4
    assert rows(tmp_path / "run")[0]["train/loss"] == rows(unbroken)[0]["train/loss"]


@pytest.mark.parametrize(("save_every", "lags"), [(6, [0, 1, 2, 2, 2, 2]), (4, [0, 1, 2, 2, 0, 1])])
def test_rollouts_may_lag_several_updates_and_resume_as_they_were(save_every, lags, tmp_path):
    run = ("train", "rollout=eager", "tracking=none", "execution.teacher=inline", *SHORT,
           "rollout.staleness=2", f"save_every={save_every}")  # fmt: skip
    done = esr(*run, "steps=6", "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(tmp_path / "run")
    assert [row["rollout/stale"] for row in found] == lags
    assert [row["rollout/logprob_gap_max"] > 1e-4 for row in found] == list(map(bool, lags))
    if save_every == 6:
        return
    # From the checkpoint of step 4 on, the same rollouts are sampled again.
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000006")
    done = esr("train", f"resume={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    again = rows(tmp_path / "run")
    assert [row["train/loss"] for row in again] == [row["train/loss"] for row in found]


def test_a_complete_run_is_not_overwritten(unbroken):
    done = esr("train", "rollout=eager", "run_dir=run", cwd=unbroken.parent)
    assert done.returncode == 2 and "complete run" in done.stderr


def test_resuming_a_complete_run_starts_nothing_and_names_larger_steps(unbroken):
    before = (unbroken / "esr.log").read_text()
    done = esr("train", f"resume={unbroken}")
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith(f"resume={unbroken}: the run is complete (step 30 of 30); larger steps")
    assert line.endswith(f"esr train resume={unbroken} steps=…")
    assert (unbroken / "esr.log").read_text() == before


def test_a_run_killed_and_resumed_ends_the_same(unbroken, tmp_path):
    process = start("rollout=eager", "steps=30", "run_dir=run", cwd=tmp_path)
    wait_for_step(tmp_path / "run", 13, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    refused = esr("train", "resume=run", "seed=4", cwd=tmp_path)
    assert refused.returncode == 2 and "the saved run has 0" in refused.stderr
    done = esr("train", "resume=run", "execution.patience=5", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "patience: 5" in (tmp_path / "run" / "config.yaml").read_text()
    same_end(tmp_path / "run", unbroken)
    started = [row["step"] for row in rows(tmp_path / "run", "environment.jsonl")]
    assert started[0] == 0 and len(started) == 2 and started[1] > 0
    # `wandb sync` finds one run, of all steps.
    wandb = tmp_path / "run" / "wandb"
    assert [len(list(wandb.glob(f"{name}offline-run-*"))) for name in ("", "replaced-")] == [1, 1]


def test_a_killed_engine_and_a_stopped_teacher_change_nothing(unbroken, tmp_path):
    process = start(
        "rollout=eager", "tracking=none", "steps=30", "run_dir=run", "execution.silence_s=4",
        cwd=tmp_path,
    )  # fmt: skip
    wait_for_step(tmp_path / "run", 5, process)
    workers = children(process.pid)
    os.kill(workers["engine"], signal.SIGKILL)
    wait_for_step(tmp_path / "run", 12, process)
    os.kill(workers["teacher"], signal.SIGSTOP)
    assert process.wait() == 0
    log = (tmp_path / "run" / "esr.log").read_text()
    assert "the engine's process died" in log
    assert "was silent for 4 s in score and was killed; restarted" in log
    same_end(tmp_path / "run", unbroken)


def test_sigterm_saves_a_checkpoint_to_resume_from(unbroken, tmp_path):
    process = start("rollout=eager", "tracking=none", "steps=30", "run_dir=run", cwd=tmp_path)
    wait_for_step(tmp_path / "run", 4, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 1
    assert len(rows(tmp_path / "run")) < 30
    log = (tmp_path / "run" / "esr.log").read_text()
    assert " stopped by SIGTERM after step" in log and "failed:" not in log
    assert esr("train", "resume=run", "execution=inline", cwd=tmp_path).returncode == 0
    same_end(tmp_path / "run", unbroken)


def test_lora_trains_and_leaves_an_adapter(tmp_path):
    done = esr(
        "train", *INLINE, "tune=lab_lora", *SHORT, "steps=4", "strict=true", "run_dir=run",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    from peft import PeftModel

    lab = ROOT / "esr_cli" / "models" / "lab_pair" / "student"
    base = AutoModelForCausalLM.from_pretrained(lab)
    merged = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter").merge_and_unload()
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "student")
    saved, expected = student.state_dict(), merged.state_dict()
    assert max((saved[n] - expected[n]).abs().max().item() for n in saved) < 1e-6


@pytest.mark.parametrize("engine", ["eager", "vllm"])
def test_the_gauge_fires_if_the_engine_keeps_old_weights(engine, tmp_path):
    """The real loop. The engine gets the weights of step 0 and of two steps, and no others."""
    if engine == "vllm":
        pytest.importorskip("vllm")
    code = (
        "from esr_cli.cli.main import main\n"
        "from esr_cli.execution.several import Engines\n"
        "load, updates = Engines.load_weights, iter(range(3))\n"
        "def first_three(self, weights):\n"
        "    if next(updates, None) is not None:\n"
        "        load(self, weights)\n"
        "Engines.load_weights = first_three\n"
        "if __name__ == '__main__': main()\n"
    )
    script = tmp_path / "without.py"
    script.write_text(code)
    command = [sys.executable, str(script), "train", f"rollout={engine}", *SHORT, "strict=true"]
    command += ["tune.learning_rate=0.01", "steps=6", "tracking=none", "run_dir=run"]
    command += ["execution.teacher=inline"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "engine holds old weights" in done.stderr, done.stderr
    gaps = [row["rollout/logprob_gap_max"] for row in rows(tmp_path / "run")]
    assert len(gaps) == 3 and max(gaps[:2]) < 1e-4


def test_the_gauge_warns_once():
    warnings = []
    gauge = Gauge("float32", strict=False, warn=warnings.append)
    for gap in (1e-6, 0.5, 0.5):
        gauge.check({0: (gap, gap)})
    assert len(warnings) == 1 and "old weights" in warnings[0]


@pytest.mark.parametrize(
    ("given", "compared"),
    [
        ([], True),
        (["tune=lab_lora"], True),
        (["tune=lab_lora", "tune.dropout=0.05"], False),
        (["rollout.top_p=0.95"], False),
        (["rollout.top_k=20"], False),
    ],
)
def test_only_equal_distributions_are_compared(given, compared):
    assert comparable(read(*given)) is compared


def test_a_dry_run_at_the_full_vocabulary_with_random_weights(tmp_path):
    """The paper's main pair, narrow and shallow, with Qwen's tokenizer if its ranks are available.

    Otherwise the lab's tokenizer is used, and all rows beyond its tokens are padding.
    """
    ranks = Path(os.environ.get("ESR_DATA", "")) / "qwen.tiktoken"
    narrow = {
        "hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    }  # fmt: skip
    shapes = [
        f"pair.{role}.shape.{key}={value}"
        for role in ("student", "teacher")
        for key, value in narrow.items()
    ]
    if not ranks.is_file():
        shapes += [f"pair.{role}.path=esr:{role}" for role in ("student", "teacher")]
        shapes += [f"pair.{role}.family=null" for role in ("student", "teacher")]
        shapes += ["pair.stop_tokens=[]"]
    done = esr(
        "train", "pair=qwen25math_1p5b__qwen3_1p7b", "pair.weights=random", "pair.dtype=float32",
        *shapes,
        "pair.teacher.shape.head_dim=24", "task=lab", "benchmark=lab", "benchmark.lab.samples=1",
        "benchmark.lab.max_tokens=4", "limit=2", "+rollout_len=4", "steps=2",
        "prompts_per_step=2", *INLINE, "strict=true", "run_dir=run",
        cwd=tmp_path, env={"ESR_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2]
    row = rows(tmp_path / "run")[-1]
    assert row["student/entropy"] > 4 and 0 < row["align/student_outside"] < 1
    assert row["rollout/logprob_gap_max"] < 1e-4
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "student")
    assert saved.config.vocab_size == 151936
    # The folders of random weights are created only once.
    assert len(list((tmp_path / "cache" / "random").iterdir())) == 2


def test_different_tokenizers_train(bytes_teacher, tmp_path):
    done = esr(
        "train", *INLINE, *SHORT, "steps=3", "strict=true",
        f"pair.teacher.path={bytes_teacher}", "pair.alignment=text", "lengths=mixture",
        "lengths.full_share=0.25", "loss=top_student_entropy", "loss.keep_tokens=5",
        "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for row in rows(tmp_path / "run"):
        assert 0.5 < row["align/coverage"] < 1, "merged words of the teacher hide boundaries"
        assert row["train/reverse_kl"] > 0.1 and row["rollout/logprob_gap_max"] < 1e-4
        # Three responses of 8 tokens and one of up to 128, five positions of each.
        assert row["rollout/tokens"] > 4 * 8
        assert row["train/kept"] == pytest.approx(20 / row["rollout/tokens"], abs=1e-6)
    profile = rows(tmp_path / "run", "kl_by_position.jsonl")[-1]
    assert len(profile["kl"]) == len(profile["count"]) > 8
