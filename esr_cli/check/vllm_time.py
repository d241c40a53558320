"""What vLLM takes to decode and to load weights, from the limits of this machine.

vLLM takes too long to start for a trial. Its kernels come near the limits; what its own code takes
besides is measured in runs of the lab pair (docs/results/bench_plain.json), where it is nearly all.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch

from esr_cli.check import ceilings
from esr_cli.check.floors import Model
from esr_cli.check.trial import Trial
from esr_cli.models.shapes import cache_bytes

# Seconds of vLLM's own code on a CPU: for a token of all sequences, for each of them, and for each
# tensor of weights that it loads. Weights are read and written this often when they are loaded.
TOKEN_S, ROW_S, TENSOR_S, PASSES = 1.5e-3, 3e-5, 7e-4, 4
TRIES = 3


def on_vllm(trial: Trial, student: Any, device: str, dtype: str) -> Trial:
    """The trial with vLLM as the engine; `student` is a model without weights."""
    top, model = ceilings.measure(device, dtype), Model.of(student)
    size = 2 if dtype == "bfloat16" else 4
    count = model.body + model.head
    context = top.seconds(cache_bytes(model.shape, size), 0)
    tensors = sum(1 for _ in student.parameters())
    return replace(
        trial,
        decode=TOKEN_S,
        decode_row=ROW_S + _sampling(model.shape.vocab_size, device),
        decode_context=context,
        weights=top.seconds(count * size, 0),
        weights_row=top.seconds(0, 2 * count),
        sync=tensors * TENSOR_S + top.seconds(PASSES * count * size, 0),
    )


def _sampling(columns: int, device: str) -> float:
    """Seconds of sampling one token from logits over so many columns: softmaxes and noise."""
    logits, seconds = torch.randn(columns, device=device), []
    for _ in range(TRIES):
        began = time.perf_counter()
        noise = torch.empty_like(logits).exponential_()
        (logits.log_softmax(-1) - noise.log()).argmax().item()
        seconds.append(time.perf_counter() - began)
    return min(seconds)
