"""`pair=own`: what it brings, leaves out and lowers; and `esr check` with several errors."""

from __future__ import annotations

import json

import pytest
from conftest import INLINE, esr, free_port, rows

from esr_cli.config import gate


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with prompts, no benchmark's data and no hub in reach."""
    monkeypatch.delenv("ESR_DATA", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    asked = [{"prompt": f"Q : start 3 ; a + {i} ; find a ?"} for i in range(8)]
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(each) + "\n" for each in asked))
    return tmp_path


def own(tiny_pair, *more):
    paths = [f"pair.{role}.path={tiny_pair / role}" for role in ("student", "teacher")]
    return ("pair=own", *paths, "+rollout_len=8", "task=jsonl", "task.files=[my.jsonl]",
            "prompts_per_step=4", *INLINE, *more)  # fmt: skip


def test_it_says_what_it_brings_leaves_out_and_lowers(here, tiny_pair):
    done = esr("check", *own(tiny_pair), cwd=here)
    out = " ".join(done.stdout.split())
    assert done.returncode == 0, out + done.stderr
    for part in (
        "pair=own brings what is not given: benchmark=none, tune=lora (rank 32), "
        "tune.learning_rate=5e-05, steps=200, rollouts_per_prompt=1",
        "benchmark=math500 is left out, as its data is not here (math500: math500.jsonl: no data",
        "127.0.0.1 is out of reach: Connection refused",
        "pair.context_tokens=4096: lowered to 512, the limit of pair.student.path",
        "pair.max_response_tokens=1024: lowered to 256",
        "none, so nothing says whether the student gets better; give benchmark=NAME",
        "the first prompt as the student reads it", "the first prompt as the teacher reads it",
    ):  # fmt: skip
        assert part in out, (part, out)
    given = esr("check", *own(tiny_pair, "benchmark=math500"), cwd=here)
    assert given.returncode == 2 and "math500.jsonl" in given.stdout, "a given one is not left out"


def test_a_run_keeps_what_was_changed(here, tiny_pair):
    arguments = own(tiny_pair, "save_every=1", "run_dir=run")
    done = esr("train", *arguments, "steps=1", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "benchmark=math500 is left out" in done.stdout and "lowered to 512" in done.stdout
    saved = gate.read_yaml(here / "run" / "config.yaml")
    assert saved["benchmark"] == {} and saved["pair"]["context_tokens"] == 512
    done = esr("train", *arguments, "steps=2", "resume=run", cwd=here)
    assert done.returncode == 0, done.stderr
    assert len(rows(here / "run")) == 2 and not (here / "run" / "eval.jsonl").exists()


def test_every_missing_thing_is_found_at_once(here):
    done = esr("check", "pair=own", "pair.student.path=./a", "pair.teacher.path=./b",
               "+rollout_len=8", "task=jsonl", "task.files=[gone.jsonl]", "benchmark=bfcl",
               *INLINE, cwd=here)  # fmt: skip
    out = " ".join(done.stdout.split())
    for part in ("pair.student.path=./a: no such folder", "pair.teacher.path=./b: no such folder",
                 "task=jsonl: gone.jsonl: no such file", "bfcl: bfcl/BFCL_v4_simple"):  # fmt: skip
        assert part in out, (part, out)
    assert done.returncode == 2 and "4 errors" in done.stderr, done.stderr
    done = esr("train", "pair=own", "+rollout_len=8", cwd=here)
    assert done.stderr == (
        "esr: pair.student.path and pair.teacher.path=: name a model folder or hub id\n"
    )


def test_an_error_hides_neither_prompts_nor_other_errors(here, tiny_pair, bytes_teacher):
    done = esr("check", *own(tiny_pair), f"pair.teacher.path={bytes_teacher}", "benchmark=bfcl",
               cwd=here)  # fmt: skip
    out = " ".join(done.stdout.split())
    assert done.returncode == 2 and "2 errors" in done.stderr, out + done.stderr
    for part in ("pair.alignment=auto: the tokenizers differ", "bfcl/BFCL_v4_simple_python.json",
                 "the first prompt as the student reads it",
                 "the first prompt as the teacher reads it"):  # fmt: skip
        assert part in out, (part, out)


def test_a_file_is_missed_before_a_model_is_asked_for(here):
    """The student could only be had from the hub."""
    models = ("pair.student.path=me/student", "pair.teacher.path=./gone")
    done = esr("train", "pair=own", *models, "+rollout_len=8", "task=jsonl",
               "task.files=[gone.jsonl]", *INLINE, cwd=here)  # fmt: skip
    assert done.stderr.startswith("esr: task=jsonl: gone.jsonl: "), done.stderr
