"""vLLM in the process it is built in: token ids in, token ids and log-probabilities out."""

from __future__ import annotations

import os
import random
from typing import Any

import torch

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
        trust_remote_code: bool = False,
    ) -> None:  # fmt: skip
        self.on_cpu = not torch.cuda.is_available()
        if self.on_cpu:
            room = _cache_gib(path, revision, dtype, max_model_len, max_sequences)
            os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(room)
        # Starting an engine overwrites the random state of its process.
        python_state, torch_state = random.getstate(), torch.get_rng_state()
        from vllm import LLM

        options: dict[str, Any] = {"dtype": dtype}
        if self.on_cpu:
            # A prefill in pieces breaks seeded requests on the CPU, so one must fit whole.
            options["enable_chunked_prefill"] = False
            options["max_num_batched_tokens"] = max(4096, max_model_len)
        self.llm = LLM(
            model=path, revision=revision, tokenizer_revision=revision,
            max_model_len=max_model_len, max_num_seqs=max_sequences,
            gpu_memory_utilization=gpu_memory_utilization, logprobs_mode="processed_logprobs",
            generation_config="vllm", disable_log_stats=True,
            trust_remote_code=trust_remote_code, **options,
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
        outputs = self.llm.generate(
            asked,
            [_request(sampling, sampling.seed_of(prompt.id, sample)) for prompt, sample in wanted],
            use_tqdm=False,
        )
        return [
            _rollout(prompt, sample, output.outputs[0])
            for (prompt, sample), output in zip(wanted, outputs, strict=True)
        ]


def _repack_tied_head(model: Any) -> None:
    """Packs the output head anew from the embedding it is tied to.

    On the CPU the head multiplies by a packed copy, which a reload of the embedding leaves as it
    was: log-probabilities drift away from the trainer's, and nothing says so.
    """
    head = getattr(model, "lm_head", None)
    if head is not None and hasattr(head, "cpu_linear"):
        head.quant_method.process_weights_after_loading(head)


def _request(sampling: Sampling, seed: int) -> Any:
    from vllm import SamplingParams

    return SamplingParams(
        max_tokens=sampling.max_tokens,
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


def _cache_gib(
    path: str, revision: str | None, dtype: str, max_model_len: int, max_sequences: int
) -> int:
    """KV cache in whole GiB for `max_sequences` of full length, at least 1."""
    from transformers import AutoConfig

    shape = AutoConfig.from_pretrained(path, revision=revision).get_text_config()
    size = torch.finfo(getattr(torch, dtype)).bits // 8
    width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    per_token = 2 * shape.num_hidden_layers * shape.num_key_value_heads * width * size
    return max(1, -(-per_token * max_model_len * max_sequences // GIB))
