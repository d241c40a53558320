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
# Its other runner draws otherwise, and takes no processors of logits.
os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")

GIB = 2**30
# Settings of architectures whose weights are not kept as they are saved.
OTHER_FORMS = ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank")
# The cache is handed out in blocks of so many tokens.
BLOCK = 16
# Prompt tokens read at once: more only take memory, which the activations of as many fill.
PREFILL_TOKENS = 8192
# Batches for which decoding is captured ahead; one between two is filled up. vLLM's own many more
# take longer to capture than they save.
GRAPHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class VllmEngine:
    """Samples through vLLM's offline engine; see `Engine`."""

    def __init__(
        self, path: str, dtype: str, max_model_len: int, max_sequences: int,
        gpu_memory_utilization: float = 0.4, revision: str | None = None,
        barred_ids: tuple[int, ...] = (), trust_remote_code: bool = False,
    ) -> None:  # fmt: skip
        self.on_cpu = not torch.cuda.is_available()
        shape = loading.load_shape(path, revision, trust_remote_code)
        # Experts and latent attention are kept in other forms, which loading alone leaves old.
        self.in_place = not self.on_cpu and not any(getattr(shape, x, 0) for x in OTHER_FORMS)
        cache = _cache_bytes(shape, dtype, max_model_len, max_sequences)
        options: dict[str, Any] = {"dtype": dtype}
        if self.on_cpu:
            options |= _on_cpu(cache, max_model_len)
        else:
            options |= _on_cuda(cache, max_sequences, gpu_memory_utilization)
        # Starting an engine overwrites the random state of its process.
        python_state, torch_state = random.getstate(), torch.get_rng_state()
        from vllm import LLM

        self.bar = _Bar(barred_ids)
        if barred_ids:
            options["logits_processors"] = [_processor(self.bar)]
        self.llm: Any = LLM(
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
        if self.in_place:
            # Reloading lays whole layers out anew, which takes five times as long.
            self.llm.apply_model(lambda model: model.load_weights(iter(weights.items())))
        else:
            self.llm.collective_rpc(
                "reload_weights", kwargs={"weights_iterator": iter(weights.items())}
            )
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


def _on_cpu(cache: int, max_model_len: int) -> dict[str, Any]:
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, -(-cache // GIB)))
    # What it compiles ahead of time on the CPU it fails to load again, and compiles anew at
    # every start; the compiler's own cache holds.
    os.environ.setdefault("VLLM_USE_AOT_COMPILE", "0")
    # A prefill in pieces breaks seeded requests on the CPU, so one must fit whole.
    longest = max(4096, max_model_len)
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": longest}


def _on_cuda(cache: int, max_sequences: int, share_of_card: float) -> dict[str, Any]:
    """Decoding as one graph a batch size, of vLLM's own kernels: there is nothing to compile.

    The cache is as large as it can ever be used, unless that may leave too little of the share for
    the weights: then vLLM sees for itself what is left.
    """
    share = share_of_card * torch.cuda.get_device_properties(0).total_memory
    sizes = [size for size in GRAPHS if size < max_sequences] + [min(max_sequences, GRAPHS[-1])]
    options: dict[str, Any] = {
        "max_num_batched_tokens": PREFILL_TOKENS,
        "compilation_config": {
            "mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": sizes,
        }
    }  # fmt: skip
    return options | ({"kv_cache_memory_bytes": cache} if cache < share / 2 else {})


def _cache_bytes(shape: Any, dtype: str, max_model_len: int, max_sequences: int) -> int:
    """The KV cache of `max_sequences` of full length, in blocks, of which vLLM keeps one."""
    size = torch.finfo(getattr(torch, dtype)).bits // 8
    blocks = -(-max_model_len // BLOCK) * max_sequences + 1
    return cache_bytes(shape, size) * BLOCK * blocks
