"""What only a GPU can show: the same loop in bfloat16, and both engines on CUDA."""

from __future__ import annotations

import pytest
from conftest import SHORT, esr, rows

pytestmark = pytest.mark.gpu


# vLLM's attention takes tf32 where there is fp32: its log-probabilities are another precision's.
@pytest.mark.parametrize(
    ("engine", "dtype"), [("eager", "float32"), ("eager", "bfloat16"), ("vllm", "bfloat16")]
)
def test_a_run_on_cuda_keeps_engine_and_trainer_together(engine, dtype, tmp_path):
    if engine == "vllm":
        pytest.importorskip("vllm")
    done = esr(
        "train", f"rollout={engine}", f"pair.dtype={dtype}", "execution.device=cuda",
        "tracking=none", *SHORT, "steps=4", "strict=true", "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rows(tmp_path / "run")) == 4
