"""Settings of `esr teacher serve`."""

from __future__ import annotations

from dataclasses import dataclass

from esr_cli.config.errors import need
from esr_cli.config.train import TrainConfig


@dataclass
class TeacherServeConfig(TrainConfig):
    """Settings of `esr teacher serve`: a vLLM server of the pair's teacher, for `teacher=server`.

    It takes those of `esr train` as well, so that one line of settings serves both.

    It listens at `host` and `port`. `max_model_len` null: `pair.context_tokens`. `sequences` are
    read at a time. Weights are split over `tensor_parallel` GPUs, in a `quantization` that vLLM
    knows, and get a share `gpu_memory_utilization` of the GPU memory. Requests need the key in the
    environment variable ESR_TEACHER_KEY, if it is set.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_model_len: int | None = None
    sequences: int = 64
    tensor_parallel: int = 1
    quantization: str | None = None
    gpu_memory_utilization: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        need(0 < self.port < 65536, "port", self.port, "give a port from 1 to 65535")
        longest = self.max_model_len or self.pair.context_tokens
        need(longest >= 16, "max_model_len", longest, "give 16 or more")
        for key in ("sequences", "tensor_parallel"):
            need(getattr(self, key) > 0, key, getattr(self, key), "give 1 or more")
        share = self.gpu_memory_utilization
        need(0 < share <= 1, "gpu_memory_utilization", share, "give a share in (0, 1]")
