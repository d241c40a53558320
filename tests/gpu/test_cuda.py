"""Training on a GPU: float32 and bfloat16, with both engines."""

from __future__ import annotations

import pytest
from conftest import SHORT, esr, rows

pytestmark = pytest.mark.gpu


# vLLM is not tested in float32: its attention uses TF32, so its log-probabilities differ.
@pytest.mark.parametrize(
    ("engine", "dtype"), [("eager", "float32"), ("eager", "bfloat16"), ("vllm", "bfloat16")]
)
def test_engine_and_trainer_agree_on_cuda(engine, dtype, tmp_path):
    if engine == "vllm":
        pytest.importorskip("vllm")
    done = esr(
        "train", f"rollout={engine}", f"pair.dtype={dtype}", "execution.device=cuda",
        "tracking=none", *SHORT, "steps=4", "strict=true", "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rows(tmp_path / "run")) == 4
