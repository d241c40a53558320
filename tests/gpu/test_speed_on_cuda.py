"""What makes steps fast, on CUDA: our decoding pass, compiled layers, and a bench at real sizes."""

from __future__ import annotations

import importlib.util
import json
import os

import pytest
import torch
from conftest import SHORT, esr, rows

from esr_cli.rollout.eager import EagerEngine
from esr_cli.types import Prompt, Sampling

pytestmark = pytest.mark.gpu
PAIRS = ("qwen25math_1p5b__qwen3_1p7b",)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_our_decoding_pass_agrees_with_the_library(dtype, tiny_pair):
    engine = EagerEngine(str(tiny_pair / "student"), dtype, 16, "cuda")
    assert engine.decoder is not None
    prompts = [Prompt(str(n), "", tuple(range(3, 9 + n)), ()) for n in range(3)]
    # Some leave early, so that a graph is captured anew for those that are left.
    lengths = (40, 3, 40, 5, 4, 2)
    sampling = Sampling(40, temperature=0.7, samples=2, seed=1, lengths=lengths)
    ours, engine.decoder = engine.generate(prompts, sampling), None
    theirs = engine.generate(prompts, sampling)
    # In bfloat16 near ties may fall either way; what was drawn alike must weigh alike.
    gaps = [
        abs(a - b)
        for one, other in zip(ours, theirs, strict=True)
        if one.response_ids == other.response_ids
        for a, b in zip(one.logprobs, other.logprobs, strict=True)
    ]
    assert gaps and max(gaps) < (1e-3 if dtype == "float32" else 0.2)


def test_compiled_layers_train_on_cuda(tmp_path):
    done = esr(
        "train", "rollout=eager", "execution.device=cuda", "tracking=none", *SHORT, "steps=4",
        "tune.compile=true", "strict=true", "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rows(tmp_path / "run")) == 4


@pytest.mark.parametrize("pair", PAIRS)
def test_a_bench_at_real_sizes(pair, tmp_path):
    data = os.environ.get("ESR_DATA")
    if not data:
        pytest.skip("ESR_DATA names no folder with prompts and tokenizers")
    if torch.cuda.get_device_properties(0).total_memory < 70 * 2**30:
        pytest.skip("takes a card of 80 GB")
    engines = "[vllm,eager]" if importlib.util.find_spec("vllm") else "[eager]"
    peer = ["peer=trl"] if importlib.util.find_spec("trl") else []
    done = esr(
        "bench", f"pair={pair}", "pair.weights=random", "task=gsm8k", f"data_dir={data}",
        "lengths=[100,1000]", f"engines={engines}", "repeats=2", "warmup=1", *peer, "out=found",
        "tune.gradient_checkpointing=true", "rollout.gpu_memory_utilization=0.2", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    found = json.loads((tmp_path / "found" / "bench.json").read_text())
    steps = [row for row in found["rows"] if row["phase"] == "step" and row["floor"]]
    assert steps and all(0 < row["floor"] < row["seconds"] for row in steps)
    ours = [row for row in found["memory"] if row["arm"] != "trl" and row["process"] == "trainer"]
    assert all(row["gib"] < 12 for row in ours)
