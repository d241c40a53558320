"""Hidden states from vLLM's pooling runner, which returns those after the final norm."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from esr_cli.base import companions, parallel
from esr_cli.base.states import preserved
from esr_cli.teacher.canary import Canary

# Read by vLLM on import: the engine in this process, no messages, no usage statistics.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
TASK: Any = "token_embed"
# A state that is cached is not returned again, and a prompt is read in one piece.
WHOLE: dict[str, Any] = {"enable_prefix_caching": False, "enable_chunked_prefill": False}


class VllmStates:
    """The states of a model that vLLM holds in this process.

    `tensor_parallel` splits it over GPUs of one machine; `quantization` is a kind that vLLM knows.
    `quantized` is whether the files hold quantized weights.
    """

    def __init__(
        self, path: str, dtype: Any, canary: Canary, max_model_len: int, max_sequences: int,
        gpu_memory_utilization: float = 0.4, tensor_parallel: int = 1,
        quantization: str | None = None, revision: str | None = None,
        trust_remote_code: bool = False, quantized: bool = False,
    ) -> None:  # fmt: skip
        self.canary, self.quantized = canary, quantized or quantization is not None
        if not torch.cuda.is_available():
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
            os.environ.setdefault("VLLM_USE_AOT_COMPILE", "0")
        with preserved(), parallel.starting(tensor_parallel) as several:
            from vllm import LLM
            from vllm.config import PoolerConfig
            from vllm.model_executor.models import registry

            companions.inspect_without(registry)
            options: dict[str, Any] = WHOLE | {"quantization": quantization} | several
            self.llm: Any = LLM(
                model=path, revision=revision, tokenizer_revision=revision, dtype=dtype,
                trust_remote_code=trust_remote_code, runner="pooling",
                pooler_config=PoolerConfig(task=TASK, use_activation=False),
                max_model_len=max_model_len, max_num_seqs=max_sequences,
                max_num_batched_tokens=max(8192, max_model_len),
                gpu_memory_utilization=gpu_memory_utilization,
                disable_log_stats=True, **options,
            )  # fmt: skip
            parallel.attach(self.llm)

    def states(self, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """See `StateSource.states`."""
        inputs = [{"prompt_token_ids": list(ids)} for ids in (*sequences, self.canary.ids)]
        with parallel.attended(self.llm):
            outputs = self.llm.encode(inputs, pooling_task=TASK, use_tqdm=False)
        *states, canary_LD = [each.outputs.data for each in outputs]
        self.canary.check(canary_LD)
        return states

    def close(self) -> None:
        """Ends the processes of a split model."""
        parallel.end(self.llm)

    def figures(self) -> dict[str, float]:
        """The canary's gap, and whether the weights are quantized."""
        gap = {"teacher/canary_gap": self.canary.take()}
        return gap | {"teacher/quantized": float(self.quantized)}
