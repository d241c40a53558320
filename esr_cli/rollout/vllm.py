"""The vLLM engine, in the process that builds it: token ids in, ids and log-probabilities out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from esr_cli.base import companions, parallel
from esr_cli.base.states import preserved
from esr_cli.models import loading, lora
from esr_cli.models.shapes import engine_cache, engine_share, plain, whole_cache
from esr_cli.types import Adapter, Placed, Prompt, Rollout, Sampling, in_order

# vLLM reads these on import. With a separate engine process, weights could not be handed over.
# (The processes of `tensor_parallel` are others: they hold the model alone.)
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# The other runner samples differently, and is untested with the token mask.
os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")

GIB = 2**30
Weights = dict[str, torch.Tensor]
# Prompt tokens per prefill batch. More would only take more memory for activations.
PREFILL_TOKENS = 8192
# The ranks that vLLM reserves room for.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Batch sizes with a captured CUDA graph; other sizes are padded up. vLLM's default has many more,
# which take longer to capture than they save.
GRAPHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class VllmEngine:
    """Samples through vLLM's offline engine; see `Engine`.

    `seeds` is `response`, or `batch`: then the first response's seed serves a whole call.
    With `tensor_parallel` the model is split over as many GPUs, each with a process of its own.
    """

    def __init__(
        self, path: str, dtype: str, max_model_len: int, max_sequences: int,
        gpu_memory_utilization: float = 0.4, revision: str | None = None,
        masked_ids: tuple[int, ...] = (), trust_remote_code: bool = False,
        adapter: Adapter | None = None, tensor_parallel: int = 1, seeds: str = "response",
    ) -> None:  # fmt: skip
        self.on_cpu, self.masks = not torch.cuda.is_available(), bool(masked_ids)
        self.split, self.by_response = tensor_parallel > 1, seeds == "response"
        shape = loading.load_shape(path, revision, trust_remote_code)
        # Loading in place would not update weights that vLLM stores in another form.
        self.in_place = not self.on_cpu and plain(shape)
        size = torch.finfo(getattr(torch, dtype)).bits // 8
        if self.on_cpu:
            cache = whole_cache(shape, size, max_model_len, max_sequences, tensor_parallel)
            options = _on_cpu(cache, max_model_len, gpu_memory_utilization)
        else:
            options = _on_cuda(
                shape, size, max_model_len, max_sequences, gpu_memory_utilization, tensor_parallel
            )
        options["dtype"] = dtype
        self._adapter = _Loaded(adapter) if adapter else None
        if adapter:
            rank = next(each for each in RANKS if each >= adapter.rank)
            options |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1}
        with preserved(), parallel.starting(tensor_parallel) as several:
            from vllm import LLM
            from vllm.model_executor.models import registry

            companions.inspect_without(registry)
            self.llm: Any = LLM(
                model=path, revision=revision, tokenizer_revision=revision,
                trust_remote_code=trust_remote_code,
                max_model_len=max_model_len, max_num_seqs=max_sequences,
                logprobs_mode="processed_logprobs",
                generation_config="vllm", disable_log_stats=True, **options, **several,
            )  # fmt: skip
            parallel.attach(self.llm)
            if masked_ids:
                self.llm.apply_model(partial(_mask_head, ids=masked_ids))
            if not self.on_cpu:
                # Warm-up: the first call compiles the kernels for log-probabilities.
                self.generate([Prompt("", "", (0,), ())], Sampling(2, temperature=1.0))

    def load_weights(self, weights: Weights) -> None:
        """Loads new weights and resets the prefix cache, which is stale with them.

        With an adapter, the weights are its factors.
        """
        with parallel.attended(self.llm):
            if self._adapter:
                self._adapter.load(self.llm, weights)
            else:
                with _written(weights) if self.split else nullcontext(weights) as source:
                    self.llm.collective_rpc(_load, args=(source, self.in_place))
            reset = self.llm.reset_prefix_cache()
        assert reset, "vLLM did not reset its prefix cache after a weight load"

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """`sampling.samples` rollouts per prompt, in the order of the prompts."""
        return in_order(chain.from_iterable(self.finished(prompts, sampling)))

    def finished(self, prompts: list[Prompt], sampling: Sampling) -> Iterator[list[Placed]]:
        """The rollouts of `generate` with their places: those that end in the same step."""
        wanted = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        inputs: list[Any] = [{"prompt_token_ids": list(prompt.student_ids)} for prompt, _ in wanted]
        limits = sampling.limits(len(wanted))
        seeds = [sampling.seed_of(prompt.id, sample) for prompt, sample in wanted]
        requests = [
            _request(sampling, limit, seed if self.by_response else None)
            for limit, seed in zip(limits, seeds, strict=True)
        ]
        adapter = self._adapter and self._adapter.request
        with parallel.attended(self.llm), nullcontext() if self.by_response else preserved():
            if seeds and not self.by_response:
                self.llm.collective_rpc(_draw_from, args=(seeds[0],))
            if self.masks:
                self.llm.apply_model(partial(_switch_mask, on=sampling.shared_only))
            names = self.llm.enqueue(inputs, requests, use_tqdm=False, lora_request=adapter)
            # A request is answered under its number; vLLM adds random characters to its name.
            places = {name.partition("-")[0]: place for place, name in enumerate(names)}
            engine = self.llm.llm_engine
            while engine.has_unfinished_requests():
                ended = [(places[o.request_id], o.outputs[0]) for o in engine.step() if o.finished]
                if ended:
                    yield [(at, _rollout(*wanted[at], output)) for at, output in ended]

    def close(self) -> None:
        """Ends the processes of a split model."""
        parallel.end(self.llm)


@contextmanager
def _folder(weights: Weights) -> Iterator[Path]:
    """A temporary folder for weights: in memory, if there is room for them."""
    size, memory = sum(each.nbytes for each in weights.values()), Path("/dev/shm")
    fits = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > size
    with tempfile.TemporaryDirectory(prefix="esr-weights-", dir=memory if fits else None) as made:
        yield Path(made)


@contextmanager
def _written(weights: Weights) -> Iterator[str]:
    """A file with the weights, which every process of a split model reads its share of."""
    with _folder(weights) as folder:
        file = str(folder / "weights.safetensors")
        save_file({name: each.contiguous().cpu() for name, each in weights.items()}, file)
        yield file


def _load(worker: Any, weights: Weights | str, in_place: bool) -> None:
    """Loads weights, or a file of them, into the model of a worker of vLLM."""
    named = load_file(weights) if isinstance(weights, str) else weights
    if in_place:
        # `reload_weights` rebuilds whole layers, which takes five times as long.
        worker.get_model().load_weights(iter(named.items()))
    else:
        worker.reload_weights(weights_iterator=iter(named.items()))
    _repack_tied_head(worker.get_model())


def _draw_from(_: Any, seed: int) -> None:
    """Seeds the random stream of a worker of vLLM, which requests without a seed share."""
    torch.manual_seed(seed)


class _Loaded:
    """A LoRA adapter that vLLM reads from a folder in memory, anew at every hand-over."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.request: Any = None

    def load(self, llm: Any, factors: Weights) -> None:
        """Has the engine read the factors; later requests use them."""
        from vllm.lora.request import LoRARequest

        # vLLM reads the folder at once; requests only name the adapter.
        with _folder(factors) as folder:
            lora.write(folder, factors, self.adapter)
            wanted: Any = LoRARequest("student", 1, str(folder), load_inplace=True)
            assert llm.llm_engine.add_lora(wanted), "vLLM did not load the adapter"
        self.request = LoRARequest("student", 1, str(folder))


class _TokenMask:
    """A mask of token ids that are not sampled while `on`."""

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids, self.on = ids, False
        self._columns: Any = None

    def apply(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """Sets the logits of masked ids to minus infinity, in place."""
        if self._columns is None:
            # The logits may lack padding rows that the trainer's model has.
            ids = [id for id in self.ids if id < logits_BV.shape[-1]]
            self._columns = torch.tensor(ids, dtype=torch.long, device=logits_BV.device)
        return logits_BV.index_fill_(-1, self._columns, -torch.inf)


def _mask_head(model: Any, ids: tuple[int, ...]) -> None:
    """Masks tokens in `compute_logits`: for every sampler, and at no cost per request."""
    original, mask = model.compute_logits, _TokenMask(ids)

    def compute_logits(*args: Any, **kwargs: Any) -> Any:
        logits_BV = original(*args, **kwargs)
        return mask.apply(logits_BV) if mask.on and logits_BV is not None else logits_BV

    model.compute_logits, model.token_mask = compute_logits, mask


def _switch_mask(model: Any, on: bool) -> None:
    model.token_mask.on = on


def _repack_tied_head(model: Any) -> None:
    """Repacks the output head from the embedding that it is tied to.

    On the CPU the head uses a packed copy, which a reload of the embedding does not update. Without
    this, log-probabilities drift from the trainer's without any error.
    """
    head = getattr(model, "lm_head", None)
    if head is not None and hasattr(head, "cpu_linear"):
        head.quant_method.process_weights_after_loading(head)


def _request(sampling: Sampling, limit: int, seed: int | None) -> Any:
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
    assert len(tokens) == len(logprobs), "vLLM must return one log-probability per token"
    return Rollout(prompt, sample, tokens, logprobs, output.finish_reason)


def _on_cpu(cache: int, max_model_len: int, share: float) -> dict[str, Any]:
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, -(-cache // GIB)))
    # On the CPU, vLLM fails to load its ahead-of-time artifacts and recompiles at every start.
    # The compiler's own cache works.
    os.environ.setdefault("VLLM_USE_AOT_COMPILE", "0")
    # Chunked prefill breaks seeded requests on the CPU, so a prompt must fit in one batch.
    longest = max(4096, max_model_len)
    return {
        "enable_chunked_prefill": False, "max_num_batched_tokens": longest,
        "gpu_memory_utilization": share,
    }  # fmt: skip


def _on_cuda(
    shape: Any, size: int, max_model_len: int, max_sequences: int, share_of_card: float, parts: int
) -> dict[str, Any]:
    """Engine options on CUDA: one graph per batch size, of vLLM's own kernels, not compiled.

    The KV cache is no larger than the longest batch needs. If the weights cannot be estimated from
    the shape, or leave no room by that estimate, vLLM measures how much its share leaves.
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
    cache = engine_cache(shape, size, max_model_len, max_sequences, share_of_card * card, parts)
    if cache:
        # vLLM then uses the share only to check that this much memory is free.
        taken = engine_share(shape, size, cache, parts) / card
        options |= {"kv_cache_memory_bytes": cache, "gpu_memory_utilization": taken}
    return options
