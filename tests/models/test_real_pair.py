"""SmolLM2-135M-Instruct from the package with its weights, and the pair made from it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import ROOT, esr, rows
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.real

ROLES = ("base", "student", "teacher")


@pytest.fixture(scope="module")
def made(smollm2: Path, tmp_path_factory) -> tuple[Path, str]:
    """A student after one step of training, its teacher after two, and what was printed."""
    out = tmp_path_factory.mktemp("made")
    (out / "base").symlink_to(smollm2)
    done = make(out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def make(out: Path, *more: str) -> subprocess.CompletedProcess:
    """Runs the script with two problems a step and one for the accuracy."""
    script = str(ROOT / "scripts" / "real_pair.py")
    given = ["--steps=2", "--student-steps=1", "--batch=2", "--problems=1"]
    command = [sys.executable, script, str(out), *given, *more]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_student_speaks_english_and_its_template_ends_turns(smollm2: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert tokenizer.eos_token == "<|im_end|>"
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        found = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(found[0, ids.input_ids.shape[1] :])


def test_a_pair_is_made_and_measured(made: tuple[Path, str]) -> None:
    out, printed = made
    record = json.loads((out / "pair.json").read_text())
    assert record["settings"]["steps"] == 2 and record["training_minutes"] >= 0
    assert all(record[role]["n"] == 1 for role in ROLES)
    assert "step 2 of 2" in printed and "teacher: " in printed
    assert not (out / "training.pt").exists()
    weights = [AutoModelForCausalLM.from_pretrained(out / role).state_dict() for role in ROLES]
    for first, second in pairwise(weights):
        moved = [name for name in first if not torch.equal(first[name], second[name])]
        assert len(moved) == 210 and all("proj" in name for name in moved)


def test_a_made_pair_is_not_taken_for_one_of_other_settings(made: tuple[Path, str]) -> None:
    refused = make(made[0], "--strategies=2")
    assert refused.returncode == 1 and "give another folder" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_models_of_unknown_settings_are_not_taken_for_a_pair(tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    refused = make(tmp_path)
    assert refused.returncode == 1 and "models without a pair.json" in refused.stderr
    assert not (tmp_path / "base").exists()


def test_a_made_pair_is_not_made_again(made: tuple[Path, str]) -> None:
    out, _ = made
    before = (out / "teacher" / "model.safetensors").stat().st_mtime
    again = make(out)
    assert again.returncode == 0 and "step" not in again.stdout
    assert "teacher: " in again.stdout
    assert (out / "teacher" / "model.safetensors").stat().st_mtime == before


def test_a_run_of_the_real_pair(made: tuple[Path, str], tmp_path: Path) -> None:
    # The student as its own teacher: nothing is to be corrected.
    out, _ = made
    done = esr(
        "train", "pair=real", f"pair.teacher.path={out}/student", "+rollout_len=8", "steps=1",
        "prompts_per_step=2", "limit=2", "benchmark.words.max_tokens=8", "rollout=eager",
        "execution=inline", "tracking=none", "watch.every=0", f"run_dir={tmp_path}/run",
        cwd=tmp_path,
        env={"ESR_REAL": str(out)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [row] = rows(tmp_path / "run")
    assert row["train/reverse_kl"] < 1e-6 and row["train/top1_agree"] == 1.0
    assert row["rollout/logprob_gap_max"] < 1e-3
