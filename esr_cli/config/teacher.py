"""Settings of what runs the teacher: our own passes, vLLM in a worker, or vLLM servers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from esr_cli.config.errors import need, need_choice, need_choices, one_of

ENGINES = ("local", "vllm", "server")


@dataclass
class TeacherEngineConfig:
    """What computes the teacher's hidden states; the model is `pair.teacher`.

    `local` is transformers in a worker of ours. It reads a prompt once for all responses to it of a
    step. With `prompt_cache_gib` it keeps the keys and values of prompts that return in later
    steps, up to so many GiB; a resumed run then equals an unbroken one up to rounding. `vllm` is
    vLLM's pooling runner in that worker: `tensor_parallel` GPUs of one machine, weights in a
    `quantization` that vLLM knows, and a share `gpu_memory_utilization` of the GPU memory.
    `server` asks the vLLM servers at `urls`, which `esr teacher serve` starts: `in_flight` requests
    at a time for each, another address if one does not answer within `timeout_s` seconds or fails.
    If none answers, a step waits for one up to `patience_s` seconds, before the run stops,
    resumable. Answers have the dtype `wire` (`auto`: bfloat16 for a bfloat16 teacher). A key for
    the servers is read from the environment variable ESR_TEACHER_KEY. With several teachers
    (`pair.teachers`), the field `by` of a row names the one that scores the responses to it.
    """

    engine: str = "local"
    by: str | None = None
    urls: list[str] = field(default_factory=list)
    wire: str = one_of(("auto", "float32", "bfloat16"))
    timeout_s: float = 120.0
    patience_s: float = 600.0
    in_flight: int = 4
    tensor_parallel: int = 1
    quantization: str | None = None
    gpu_memory_utilization: float = 0.4
    prompt_cache_gib: float = 0.0

    def __post_init__(self) -> None:
        need_choice("teacher", self.engine, ENGINES)
        need_choices(self, "teacher.")
        server = self.engine == "server"
        remedy = "name the servers: teacher.urls=[http://HOST:8000]"
        need(bool(self.urls) or not server, "teacher.urls", self.urls, remedy)
        for url in self.urls:
            known = re.fullmatch(r"https?://[^/\s@]+(/[^\s@]*)?", url)
            need(bool(known), "teacher.urls", url, "give http://HOST:PORT, without a password")
        twice = len(set(self.urls)) < len(self.urls)
        need(not twice, "teacher.urls", self.urls, "name each address once")
        need(self.timeout_s > 0, "teacher.timeout_s", self.timeout_s, "give seconds above 0")
        need(self.patience_s >= 0, "teacher.patience_s", self.patience_s, "give 0 or more")
        for key in ("in_flight", "tensor_parallel"):
            need(getattr(self, key) > 0, f"teacher.{key}", getattr(self, key), "give 1 or more")
        kept = self.prompt_cache_gib
        need(kept >= 0, "teacher.prompt_cache_gib", kept, "give GiB, or 0 to keep no prompts")
        share = self.gpu_memory_utilization
        need(0 < share <= 1, "teacher.gpu_memory_utilization", share, "give a share in (0, 1]")
