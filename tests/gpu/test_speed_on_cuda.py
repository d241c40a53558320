"""Performance features on CUDA: the decoding pass, compiled layers, and a bench at real sizes."""

from __future__ import annotations

import importlib.util
import json
import os

import pytest
import torch
from conftest import SHORT, esr, rows
from rollout.test_decoder import KINDS, PROMPTS, assert_near, assert_same, engine

from esr_cli.rollout import graphs
from esr_cli.types import Sampling

pytestmark = pytest.mark.gpu
PAIRS = ("qwen25math_1p5b__qwen3_1p7b",)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "gemma3_text"])
def test_the_decoder_agrees_with_transformers(kind, dtype, tmp_path):
    made = engine(tmp_path, kind, KINDS[kind], dtype, "cuda", max_sequences=64)
    assert made.decoder is not None
    # More than half of the 48 rows end early, so that a new graph is captured for the rest.
    lengths = tuple(30 if n % 3 else 60 for n in range(48))
    sampling = Sampling(60, temperature=0.7, samples=16, seed=1, lengths=lengths)
    calls, reserved = [], []
    for _ in range(3):
        calls.append(made.generate(PROMPTS, sampling))
        reserved.append(torch.cuda.memory_reserved())
    assert not graphs.faults
    assert calls[0] == calls[1] == calls[2] and reserved[1] == reserved[2]
    made.decoder = None
    expected = made.generate(PROMPTS, sampling)
    if dtype == "float32":
        assert_same(calls[0], expected)
        return
    assert_near(calls[0], expected)
    # Enough long responses agree beyond the second capture; on a CPU three of four do.
    long = [
        pair for pair in zip(calls[0], expected, strict=True) if len(pair[0].response_ids) == 60
    ]
    equal = [a for a, b in long if a.response_ids[:35] == b.response_ids[:35]]
    assert 4 * len(equal) > len(long)


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
