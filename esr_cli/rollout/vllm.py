"""vLLM in the process it is built in: token ids in, token ids and log-probabilities out."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from esr_cli.models import loading
from esr_cli.models.shapes import engine_cache, engine_share, plain, whole_cache
from esr_cli.types import Prompt, Rollout, Sampling

# Read by vLLM as it is imported: an engine process of its own would hide the weight hand-over.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# Its other runner draws otherwise; with bars it has not been tried.
os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")

GIB = 2**30
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
        masked_ids: tuple[int, ...] = (), trust_remote_code: bool = False,
    ) -> None:  # fmt: skip
        self.on_cpu, self.bar = not torch.cuda.is_available(), _Bar(masked_ids)
        shape = loading.load_shape(path, revision, trust_remote_code)
        # What is kept in another form than it is saved in, loading alone would leave old.
        self.in_place = not self.on_cpu and plain(shape)
        size = torch.finfo(getattr(torch, dtype)).bits // 8
        if self.on_cpu:
            cache = whole_cache(shape, size, max_model_len, max_sequences)
            options = _on_cpu(cache, max_model_len, gpu_memory_utilization)
        else:
            options = _on_cuda(shape, size, max_model_len, max_sequences, gpu_memory_utilization)
        options["dtype"] = dtype
        with _left_as_it_was():
            from vllm import LLM

            self.llm: Any = LLM(
                model=path, revision=revision, tokenizer_revision=revision,
                trust_remote_code=trust_remote_code,
                max_model_len=max_model_len, max_num_seqs=max_sequences,
                logprobs_mode="processed_logprobs",
                generation_config="vllm", disable_log_stats=True, **options,
            )  # fmt: skip
            if masked_ids:
                self.llm.apply_model(partial(_bar_head, bar=self.bar))
            if not self.on_cpu:
                # The first call compiles what reads log-probabilities.
                self.generate([Prompt("", "", (0,), ())], Sampling(2, temperature=1.0))

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
        forgot = self.llm.reset_prefix_cache()
        assert forgot, "vLLM kept its prefix cache over a weight load"

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
        self._columns: Any = None

    def apply(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """The logits, in place, without what is barred."""
        if self._columns is None:
            # They may lack padding rows that the trainer's model has.
            ids = [id for id in self.ids if id < logits_BV.shape[-1]]
            self._columns = torch.tensor(ids, dtype=torch.long, device=logits_BV.device)
        return logits_BV.index_fill_(-1, self._columns, -torch.inf)


def _bar_head(model: Any, bar: _Bar) -> None:
    """Bars where the logits are made: whatever draws from them, and at no cost a request."""
    made = model.compute_logits

    def compute_logits(*given: Any, **named: Any) -> Any:
        logits_BV = made(*given, **named)
        return bar.apply(logits_BV) if bar.on and logits_BV is not None else logits_BV

    model.compute_logits = compute_logits


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
        flat_logprobs=True,
        detokenize=False,
    )


def _rollout(prompt: Prompt, sample: int, output: Any) -> Rollout:
    tokens, logprobs = tuple(output.token_ids), tuple(output.logprobs.logprobs)
    assert len(tokens) == len(logprobs), "vLLM gave other than one log-probability a token"
    return Rollout(prompt, sample, tokens, logprobs, output.finish_reason)


def _on_cpu(cache: int, max_model_len: int, share: float) -> dict[str, Any]:
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, -(-cache // GIB)))
    # What it compiles ahead of time on the CPU it fails to load again, and compiles anew at
    # every start; the compiler's own cache holds.
    os.environ.setdefault("VLLM_USE_AOT_COMPILE", "0")
    # A prefill in pieces breaks seeded requests on the CPU, so one must fit whole.
    longest = max(4096, max_model_len)
    return {
        "enable_chunked_prefill": False, "max_num_batched_tokens": longest,
        "gpu_memory_utilization": share,
    }  # fmt: skip


def _on_cuda(
    shape: Any, size: int, max_model_len: int, max_sequences: int, share_of_card: float
) -> dict[str, Any]:
    """Decoding as one graph a batch size, of vLLM's own kernels: there is nothing to compile.

    The cache is no larger than it can ever be used. Where the weights cannot be reckoned from the
    shape, or leave no room by that, vLLM sees for itself what they leave of its share of the card.
    """
    card = torch.cuda.get_device_properties(0).total_memory
    sizes = [each for each in GRAPHS if each < max_sequences] + [min(max_sequences, GRAPHS[-1])]
    options: dict[str, Any] = {
        "max_num_batched_tokens": max(PREFILL_TOKENS, max_sequences),
        "compilation_config": {
            "mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": sizes,
        },
        "gpu_memory_utilization": share_of_card,
    }  # fmt: skip
    cache = engine_cache(shape, size, max_model_len, max_sequences, share_of_card * card)
    if cache:
        # Of the share it asks only whether as much is free.
        taken = engine_share(shape, size, cache) / card
        options |= {"kv_cache_memory_bytes": cache, "gpu_memory_utilization": taken}
    return options


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Starting an engine overwrites the random states of its process, and a device's stream."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with ExitStack() as kept:
        kept.enter_context(torch.random.fork_rng(devices))
        if devices:
            kept.enter_context(torch.cuda.stream(torch.cuda.current_stream()))
        yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)
