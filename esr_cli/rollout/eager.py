"""A short decoding loop over transformers: the reference engine, and fast for tiny models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import torch
from transformers import DynamicCache

from esr_cli.base import notes
from esr_cli.models import loading, lora
from esr_cli.rollout import graphs
from esr_cli.rollout.decoder import Decoder
from esr_cli.types import Adapter, Placed, Prompt, Rollout, Sampling, in_order

# With this many rows or fewer, a step takes a GPU equally long: it reads all weights.
MIN_GPU_ROWS = 32


class EagerEngine:
    """Samples in batches. Each row has its own generator, so results do not depend on the batch."""

    def __init__(
        self, path: str, dtype: str, max_sequences: int, device: str = "cpu",
        revision: str | None = None, masked_ids: tuple[int, ...] = (),
        trust_remote_code: bool = False, adapter: Adapter | None = None,
    ) -> None:  # fmt: skip
        self.model = loading.load_model(path, dtype, device, revision, trust_remote_code)
        self.adapter, self._base = adapter, dict[str, torch.Tensor]()
        self.max_sequences, self.decoder = max_sequences, Decoder.of(self.model)
        if device != "cpu":
            # Frees the copies of the weights that the decoder has concatenated.
            torch.cuda.empty_cache()
        if self.decoder is None:
            notes.note("the engine decodes with transformers' forward pass, which is slower")
        rows = self.model.config.get_text_config().vocab_size
        self.masked_ids = torch.tensor([i for i in masked_ids if i < rows], device=device).long()

    @torch.no_grad()
    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Copies the named weights in place. Each name must exist in the model.

        With an adapter, the weights are its factors, which are added to the model's first weights.
        """
        parameters = self.model.state_dict()
        if self.adapter:
            for name in (f"{layer}.weight" for layer in lora.layers_of(weights)):
                if name not in self._base:
                    self._base[name] = parameters[name].clone()
            for name, merged in lora.merged(self._base, weights, self.adapter):
                parameters[name].copy_(merged)
            return
        unknown = [name for name in weights if name not in parameters]
        assert not unknown, f"the engine's model has no weight {unknown[0]}"
        torch._foreach_copy_([parameters[name] for name in weights], list(weights.values()))

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """`sampling.samples` rollouts per prompt, in the order of the prompts."""
        return in_order(chain.from_iterable(self.finished(prompts, sampling)))

    def finished(self, prompts: list[Prompt], sampling: Sampling) -> Iterator[list[Placed]]:
        """The rollouts of `generate` with their places: those that end at the same token."""
        wanted = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        device = self.model.device
        rows = [
            _Row(at, prompt, sample, limit, _stream(sampling.seed_of(prompt.id, sample), device))
            for at, (limit, (prompt, sample)) in enumerate(
                zip(sampling.limits(len(wanted)), wanted, strict=True)
            )
        ]  # fmt: skip
        size = self.max_sequences
        for i in range(0, len(rows), size):
            for ended in self._decode(rows[i : i + size], sampling):
                yield [(row.place, row.rollout()) for row in ended]

    @torch.inference_mode()
    def _decode(self, rows: list[_Row], sampling: Sampling) -> Iterator[list[_Row]]:
        device = self.model.device
        # A prompt is read once for all its responses.
        unique = {ids: n for n, ids in enumerate(dict.fromkeys(r.prompt.student_ids for r in rows))}
        ids_BL, mask_BL = _left_pad(list(unique), device)
        batch = _Batch(self.model, self.decoder, mask_BL, max(row.limit for row in rows))
        noise = _Noise([row.stream for row in rows])
        masked = sampling.shared_only and len(self.masked_ids) > 0
        min_rows = MIN_GPU_ROWS if device.type == "cuda" else 0
        logits_BV = batch.logits(ids_BL)
        if len(unique) < len(rows):
            of_B = torch.tensor([unique[row.prompt.student_ids] for row in rows], device=device)
            batch.keep(of_B)
            logits_BV = logits_BV[of_B]
        while True:
            logits_BV = logits_BV.float()
            if masked:
                logits_BV = logits_BV.index_fill(1, self.masked_ids, -torch.inf)
            token_B, logprob_B = _sample(logits_BV, sampling, noise)
            pairs = zip(rows, token_B.tolist(), logprob_B.tolist(), strict=True)
            stop_ids = sampling.stop_ids
            ended = [row for row, token, logprob in pairs if row.take(token, logprob, stop_ids)]
            if ended:
                yield ended
            unfinished = [b for b, row in enumerate(rows) if not row.finish]
            if not unfinished:
                return
            ids_BL = token_B[:, None]
            # Once half the responses have ended, only the rest is decoded.
            if 2 * len(unfinished) <= len(rows) > min_rows:
                rows = [rows[b] for b in unfinished]
                kept_B = torch.tensor(unfinished, device=device)
                batch.keep(kept_B)
                noise.keep(unfinished)
                ids_BL = ids_BL[kept_B]
            logits_BV = batch.logits(ids_BL)


class _Batch:
    """The decoding state of a batch, through `Decoder` if the model has one."""

    def __init__(
        self, model: Any, decoder: Decoder | None, mask_BL: torch.Tensor, more: int
    ) -> None:
        self.model, self.decoder, self.mask_BL, self.more = model, decoder, mask_BL, more
        self.cache: Any = None
        # The decoder's next step, as a CUDA graph on a GPU.
        self._next: Any = None

    def logits(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """`logits_BV` after the last token: first for the prompts, then for one token per row."""
        if self.decoder and self.cache is None:
            logits_BV, self.cache = self.decoder.read(ids_BL, self.mask_BL, self.more)
            return logits_BV
        if self.decoder:
            return self._next_token(self.decoder, ids_BL[:, 0])
        if self.cache is None:
            self.cache = DynamicCache(config=self.model.config.get_text_config())
        else:
            self.mask_BL = torch.cat([self.mask_BL, torch.ones_like(ids_BL)], dim=1)
        positions_BL = (self.mask_BL.cumsum(-1) - 1).clamp(min=0)[:, -ids_BL.shape[1] :]
        return self.model(
            input_ids=ids_BL, attention_mask=self.mask_BL, position_ids=positions_BL,
            past_key_values=self.cache, logits_to_keep=1,
        ).logits[:, -1]  # fmt: skip

    def _next_token(self, decoder: Decoder, ids_B: torch.Tensor) -> torch.Tensor:
        if self._next is None:
            plain = partial(decoder.next, cache=self.cache)
            captures = ids_B.is_cuda and not graphs.faults
            self._next = decoder.captured(self.cache) if captures else plain
        return self._next(ids_B)

    def keep(self, rows_B: torch.Tensor) -> None:
        """Keeps only these rows, in this order. A row may occur more than once."""
        if self.decoder:
            self._next = None
            self.cache.keep(rows_B)
        else:
            self.cache.batch_select_indices(rows_B)
            self.mask_BL = self.mask_BL[rows_B]


class _Noise:
    """Gumbel noise from each row's own generator, drawn for several tokens at a time.

    How many depends on the vocabulary and the device type only, not on the batch.
    """

    def __init__(self, streams: list[torch.Generator]) -> None:
        self.streams, self._used = streams, 0
        self._drawn_BTV = torch.empty(0)

    def next(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """Noise for the next token, of the shape of `logits_BV`."""
        columns, device = logits_BV.shape[1], logits_BV.device
        # On a GPU each draw is a kernel launch, which takes longer than the draw itself.
        block = 4 if device.type == "cuda" else min(16, max(1, 8192 // columns))
        if self._used % block == 0:
            drawn_BTV = torch.empty(len(self.streams), block, columns, device=device)
            for row_TV, stream in zip(drawn_BTV, self.streams, strict=True):
                row_TV.exponential_(generator=stream)
            self._drawn_BTV = drawn_BTV.log_().neg_()
        self._used += 1
        return self._drawn_BTV[:, (self._used - 1) % block]

    def keep(self, rows: list[int]) -> None:
        """Keeps only these rows."""
        self.streams = [self.streams[b] for b in rows]
        if self._used:
            self._drawn_BTV = self._drawn_BTV[rows]


@dataclass
class _Row:
    """A response being generated; `finish` is empty until it stops or reaches `limit`."""

    place: int
    prompt: Prompt
    sample: int
    limit: int
    stream: torch.Generator
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: str = ""

    def take(self, token: int, logprob: float, stop_ids: tuple[int, ...]) -> bool:
        """Adds a token unless the response has finished; returns whether it finishes now."""
        if self.finish:
            return False
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if token in stop_ids:
            self.finish = "stop"
        elif len(self.tokens) == self.limit:
            self.finish = "length"
        return bool(self.finish)

    def rollout(self) -> Rollout:
        tokens, logprobs = tuple(self.tokens), tuple(self.logprobs)
        return Rollout(self.prompt, self.sample, tokens, logprobs, self.finish)


def _stream(seed: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def _left_pad(
    prompts: list[tuple[int, ...]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, prompts))
    ids = [[0] * (longest - len(p)) + list(p) for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _sample(
    logits_BV: torch.Tensor, sampling: Sampling, noise: _Noise
) -> tuple[torch.Tensor, torch.Tensor]:
    if sampling.temperature == 0:
        token_B = logits_BV.argmax(-1)
        logprobs_BV = logits_BV.log_softmax(-1)
    else:
        logprobs_BV = _truncated(logits_BV / sampling.temperature, sampling).log_softmax(-1)
        # Gumbel-max: the argmax with Gumbel noise is a sample from the softmax.
        token_B = (logprobs_BV + noise.next(logprobs_BV)).argmax(-1)
    return token_B, logprobs_BV.gather(-1, token_B[:, None])[:, 0]


def _truncated(logits_BV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    if sampling.top_k:
        k = min(sampling.top_k, logits_BV.shape[-1])
        smallest_B1 = logits_BV.topk(k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < smallest_B1, -torch.inf)
    if sampling.top_p < 1:
        sorted_BV, order_BV = logits_BV.sort(descending=True)
        shares_BV = sorted_BV.softmax(-1)
        # A token is kept if the mass before it is below top_p, so the first is always kept.
        dropped_BV = shares_BV.cumsum(-1) - shares_BV >= sampling.top_p
        logits_BV = logits_BV.masked_fill(dropped_BV.scatter(1, order_BV, dropped_BV), -torch.inf)
    return logits_BV
