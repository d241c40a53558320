"""vLLM in the process it is built in: token ids in, token ids and log-probabilities out."""

from __future__ import annotations

import os
import random
from typing import Any

import torch

from esr_cli.models import loading
from esr_cli.models.shapes import cache_bytes
from esr_cli.types import Prompt, Rollout, Sampling

# Read by vLLM as it is imported: an engine process of its own would hide the weight hand-over.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

GIB = 2**30


class VllmEngine:
    """Samples through vLLM's offline engine; see `Engine`."""

    def __init__(
        self, path: str, dtype: str, max_model_len: int, max_sequences: int,
        gpu_memory_utilization: float = 0.4, revision: str | None = None,
        barred_ids: tuple[int, ...] = (), trust_remote_code: bool = False,
    ) -> None:  # fmt: skip
        self.on_cpu = not torch.cuda.is_available()
        if self.on_cpu:
            shape = loading.load_shape(path, revision, trust_remote_code)
            room = _cache_gib(shape, dtype, max_model_len, max_sequences)
            os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(room)
            # What it compiles ahead of time on the CPU it fails to load again, and compiles anew at
            # every start; the compiler's own cache holds.
            os.environ.setdefault("VLLM_USE_AOT_COMPILE", "0")
        # Starting an engine overwrites the random state of its process.
        python_state, torch_state = random.getstate(), torch.get_rng_state()
        from vllm import LLM

        options: dict[str, Any] = {"dtype": dtype}
        if self.on_cpu:
            # A prefill in pieces breaks seeded requests on the CPU, so one must fit whole.
            options["enable_chunked_prefill"] = False
            options["max_num_batched_tokens"] = max(4096, max_model_len)
        self.bar = _Bar(barred_ids)
        if barred_ids:
            options["logits_processors"] = [_processor(self.bar)]
        self.llm = LLM(
            model=path, revision=revision, tokenizer_revision=revision,
            trust_remote_code=trust_remote_code,
            max_model_len=max_model_len, max_num_seqs=max_sequences,
            gpu_memory_utilization=gpu_memory_utilization, logprobs_mode="processed_logprobs",
            generation_config="vllm", disable_log_stats=True, **options,
        )  # fmt: skip
        random.setstate(python_state)
        torch.set_rng_state(torch_state)

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Hands new weights over and forgets the prefix cache, whose keys they outdate."""
        iterator = iter(weights.items())
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iterator})
        if self.on_cpu:
            self.llm.apply_model(_repack_tied_head)
        assert self.llm.reset_prefix_cache(), "vLLM kept its prefix cache over a weight load"

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """`sampling.samples` rollouts a prompt, prompt by prompt."""
        wanted = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        asked: list[Any] = [{"prompt_token_ids": list(prompt.student_ids)} for prompt, _ in wanted]
        limits = sampling.limits(len(wanted))
        self.bar.on = sampling.shared_only
        outputs = self.llm.generate(
            asked,
            [
                _request(sampling, limit, sampling.seed_of(prompt.id, sample))
                for limit, (prompt, sample) in zip(limits, wanted, strict=True)
            ],
            use_tqdm=False,
        )
        return [
            _rollout(prompt, sample, output.outputs[0])
            for (prompt, sample), output in zip(wanted, outputs, strict=True)
        ]


class _Bar:
    """Ids that may not be drawn while `on`."""

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids, self.on = ids, False


def _processor(bar: _Bar) -> type:
    """A logits processor for a whole engine: one operation a step, whatever the requests are."""
    from vllm.v1.sample.logits_processor import LogitsProcessor

    class Barred(LogitsProcessor):
        def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
            # Its logits may lack padding rows that the trainer's model has.
            width = vllm_config.model_config.get_vocab_size()
            self.ids = torch.tensor([id for id in bar.ids if id < width], device=device)

        def is_argmax_invariant(self) -> bool:
            return False

        def update_state(self, batch_update: Any) -> None:
            pass

        def apply(self, logits: torch.Tensor) -> torch.Tensor:
            return logits.index_fill_(-1, self.ids, -torch.inf) if bar.on else logits

    return Barred


def _repack_tied_head(model: Any) -> None:
    """Packs the output head anew from the embedding it is tied to.

    On the CPU the head multiplies by a packed copy, which a reload of the embedding leaves as it
    was: log-probabilities drift away from the trainer's, and nothing says so.
    """
    head = getattr(model, "lm_head", None)
    if head is not None and hasattr(head, "cpu_linear"):
        head.quant_method.process_weights_after_loading(head)


def _request(sampling: Sampling, limit: int, seed: int) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        max_tokens=limit,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        stop_token_ids=list(sampling.stop_ids),
        ignore_eos=True,
        seed=seed,
        logprobs=0,
        detokenize=False,
    )


def _rollout(prompt: Prompt, sample: int, output: Any) -> Rollout:
    tokens = tuple(output.token_ids)
    rows = zip(tokens, output.logprobs, strict=True)
    logprobs = tuple(row[token].logprob for token, row in rows)
    return Rollout(prompt, sample, tokens, logprobs, output.finish_reason)


def _cache_gib(shape: Any, dtype: str, max_model_len: int, max_sequences: int) -> int:
    """KV cache in whole GiB for `max_sequences` of full length, at least 1."""
    size = torch.finfo(getattr(torch, dtype)).bits // 8
    return max(1, -(-cache_bytes(shape, size) * max_model_len * max_sequences // GIB))
