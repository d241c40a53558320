"""Failures of a run: each is reported in a line, and no checkpoint is lost."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import time

import pytest
import torch
from conftest import (
    INLINE,
    ROOT,
    SHORT,
    esr,
    interpreter,
    read,
    rows,
    same_end,
    start,
    wait_for_step,
)
from safetensors.torch import load_file, save_file

from esr_cli.config import ConfigError, gate
from esr_cli.runs import folder as run_folder
from esr_cli.student import checkpoint
from esr_cli.train import command, resuming

LAB = ROOT / "esr_cli" / "models" / "lab_pair"


def test_a_teacher_without_finite_scores_ends_the_run_and_nothing_is_saved(tmp_path):
    shutil.copytree(LAB / "teacher", tmp_path / "teacher")
    weights = load_file(tmp_path / "teacher" / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, tmp_path / "teacher" / "model.safetensors", {"format": "pt"})
    done = esr(
        "train", *INLINE, *SHORT, "steps=8",
        "pair.teacher.path=./teacher", "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "5 steps in a row were skipped: the teacher's probabilities are not" in done.stderr
    assert "no checkpoint was saved yet" in done.stderr
    assert [row["train/skipped"] for row in rows(tmp_path / "run")] == [1.0] * 5
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_checkpoint_that_does_not_fit_costs_no_row(unbroken, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "run")
    folder = run / "checkpoints" / "step-000030"
    tensors = load_file(folder / "tensors.safetensors")
    name = "weight/model.embed_tokens.weight"
    tensors[name] = tensors[name][:1].clone()
    save_file(tensors, folder / "tensors.safetensors")
    (folder / "state.json").write_text('{"step": 30}')
    before = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(before + '{"step": 31}\n')
    done = esr("train", f"resume={run}", "steps=31", "execution=inline", cwd=tmp_path)
    assert done.returncode == 1 and "weight model.embed_tokens.weight is" in done.stderr
    assert "Traceback" not in done.stderr
    assert (run / "metrics.jsonl").read_text() == before + '{"step": 31}\n'


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_resumes(unbroken, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "run")
    (run / "checkpoints" / "step-000030" / "state.json").unlink()
    done = esr("train", f"resume={run}", "execution=inline", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step-000030 is damaged" in done.stdout and "from step-000028" in done.stdout
    same_end(run, unbroken)


def test_resuming_locks_before_it_looks(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    config = read(f"resume={tmp_path}")
    with run_folder.lock(tmp_path), pytest.raises(ConfigError, match="another run is using it"):
        command.run(config, [f"resume={tmp_path}"])
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        command.run(config, [f"resume={tmp_path}"])


def test_a_linear_schedule_that_grew_says_where_the_rate_goes(tmp_path):
    overrides = ["tune.schedule=linear", "tune.learning_rate=1e-3", "steps=10"]
    run_folder.open_new(tmp_path, gate.as_plain(read(*overrides)))
    checkpoint.save(
        tmp_path, 9, checkpoint.whole({"a": torch.ones(1)}), {"step": 9, "total_steps": 10}, keep=1
    )
    same = resuming.reopen(read(f"resume={tmp_path}"), [f"resume={tmp_path}"])[1]
    assert same.notes == []
    grown = [f"resume={tmp_path}", "steps=20"]
    [note] = resuming.reopen(read(*grown), grown)[1].notes
    assert "at 0.00055 instead of 0.0001" in note


@pytest.mark.parametrize(
    ("given", "note"),
    [
        # At step 4 of 10 and of 20, after warm-ups of one and of two steps.
        (
            ["tune.schedule=cosine", "tune.warmup_share=0.1"],
            "tune.schedule=cosine now ends at step 20, not 10 and tune.warmup_share=0.1 is 2 steps "
            "now, not 1: the learning rate goes on at 0.00097 instead of 0.00075",
        ),
        (
            ["tune.schedule=constant", "tune.warmup_share=0.5"],
            "tune.warmup_share=0.5 is 10 steps now, not 5: the learning rate goes on at 0.0005 "
            "instead of 0.001",
        ),
        (["tune.schedule=constant", "tune.warmup_steps=5"], None),
    ],
)
def test_a_schedule_over_more_steps_says_where_the_rate_goes(given, note, tmp_path):
    overrides = ["tune.warmup_steps=0", *given, "tune.learning_rate=1e-3", "steps=10"]
    run_folder.open_new(tmp_path, gate.as_plain(read(*overrides)))
    checkpoint.save(
        tmp_path, 4, checkpoint.whole({"a": torch.ones(1)}), {"step": 4, "total_steps": 10}, keep=1
    )
    grown = [f"resume={tmp_path}", "steps=20"]
    assert resuming.reopen(read(*grown), grown)[1].notes == ([note] if note else [])


def test_a_run_resumes_after_a_full_disk(unbroken, tmp_path):
    process = start(*INLINE, "steps=30", "run_dir=run", cwd=tmp_path)
    wait_for_step(tmp_path / "run", 3, process)
    # From here on no file may exceed 2 MB; a checkpoint of the lab student has 4 MB.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    stderr = process.communicate()[1]
    assert process.returncode == 1, stderr
    assert "File too large" in stderr and "is intact" in stderr, stderr
    assert "go on with: esr train resume=run" in stderr and "Traceback" not in stderr
    saved = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert saved and all(name.startswith("step-") for name in saved), saved
    done = esr("train", "resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    same_end(tmp_path / "run", unbroken)


def test_a_run_interrupted_between_saving_and_evaluating_resumes(unbroken, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "run")
    (run / "summary.json").unlink()
    for name in ("eval.jsonl", "samples.jsonl"):
        early = [row for row in rows(run, name) if row["step"] < 30]
        (run / name).write_text("".join(json.dumps(row) + "\n" for row in early))
    done = esr("train", f"resume={run}", "execution=inline", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    same_end(run, unbroken)


def test_ctrl_c_while_starting_is_one_line(tmp_path):
    process = start("rollout=eager", "run_dir=run", cwd=tmp_path)
    log = tmp_path / "run" / "esr.log"
    while not (log.exists() and "starting the engine" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode in (1, 130) and "interrupted" in stderr, stderr
    assert "Traceback" not in stderr, stderr


def test_a_second_ctrl_c_exits_at_once(tmp_path):
    process = start("rollout=eager", "tracking=none", "steps=1000", "run_dir=run", cwd=tmp_path)
    wait_for_step(tmp_path / "run", 1, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    # The first one may be enough if it arrives at the very end of a step.
    assert process.returncode in (1, 128 + signal.SIGINT)


def test_without_vllm_the_remedy_is_named(tmp_path):
    code = (
        "import sys; sys.modules['vllm'] = None\n"
        "sys.argv = ['esr', 'train', 'tracking=none', 'execution=inline']\n"
        "from esr_cli.cli.main import main; main()"
    )
    done = interpreter("-c", code)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "make setup" in done.stderr and "rollout=eager" in done.stderr
