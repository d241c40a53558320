"""A short decode loop over transformers' forward and cache: reference, and fast when tiny."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils.logging import disable_progress_bar

from esr_cli.types import Prompt, Rollout, Sampling


class EagerEngine:
    """Samples side by side; each row has its own random stream, so company changes nothing."""

    def __init__(
        self, path: str, dtype: str, max_sequences: int, device: str = "cpu",
        revision: str | None = None, trust_remote_code: bool = False,
    ) -> None:  # fmt: skip
        disable_progress_bar()
        model: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=getattr(torch, dtype), revision=revision,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
        self.model: Any = model.to(device).eval()
        self.max_sequences = max_sequences

    @torch.no_grad()
    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Copies the named weights in place; a name the model lacks is a broken invariant."""
        own = self.model.state_dict()
        for name, tensor in weights.items():
            assert name in own, f"the engine's model has no weight {name}"
            own[name].copy_(tensor)

    def generate(self, prompts: list[Prompt], sampling: Sampling) -> list[Rollout]:
        """`sampling.samples` rollouts a prompt, prompt by prompt."""
        wanted = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        size = self.max_sequences
        chunks = [wanted[i : i + size] for i in range(0, len(wanted), size)]
        return [rollout for chunk in chunks for rollout in self._decode(chunk, sampling)]

    @torch.no_grad()
    def _decode(self, wanted: list[tuple[Prompt, int]], sampling: Sampling) -> list[Rollout]:
        device = self.model.device
        streams = [_stream(sampling.seed_of(p.id, s)) for p, s in wanted]
        ids_BL, mask_BL = _left_pad([p.student_ids for p, _ in wanted], device)
        places_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache()
        tokens: list[list[int]] = [[] for _ in wanted]
        logprobs: list[list[float]] = [[] for _ in wanted]
        finished = [False] * len(wanted)
        for _ in range(sampling.max_tokens):
            logits_BV = self.model(
                input_ids=ids_BL, attention_mask=mask_BL, position_ids=places_BL,
                past_key_values=cache, logits_to_keep=1,
            ).logits[:, -1]  # fmt: skip
            token_B, logprob_B = _draw(logits_BV.float(), sampling, streams)
            pairs = zip(token_B.tolist(), logprob_B.tolist(), strict=True)
            for b, (token, logprob) in enumerate(pairs):
                if not finished[b]:
                    tokens[b].append(token)
                    logprobs[b].append(logprob)
                    finished[b] = token in sampling.stop_ids
            if all(finished):
                break
            ids_BL = token_B[:, None]
            mask_BL = torch.cat([mask_BL, torch.ones_like(ids_BL)], dim=1)
            places_BL = places_BL[:, -1:] + 1
        return [
            Rollout(p, s, tuple(tokens[b]), tuple(logprobs[b]), "stop" if finished[b] else "length")
            for b, (p, s) in enumerate(wanted)
        ]


def _stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _left_pad(
    prompts: list[tuple[int, ...]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, prompts))
    ids = [[0] * (longest - len(p)) + list(p) for p in prompts]
    mask = [[0] * (longest - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _draw(
    logits_BV: torch.Tensor, sampling: Sampling, streams: list[torch.Generator]
) -> tuple[torch.Tensor, torch.Tensor]:
    if sampling.temperature == 0:
        token_B = logits_BV.argmax(-1)
        logprobs_BV = logits_BV.log_softmax(-1)
    else:
        logprobs_BV = _cut(logits_BV / sampling.temperature, sampling).log_softmax(-1)
        # Gumbel noise and argmax draw from the softmax, with a stream of noise a row.
        noise_BV = torch.stack(
            [torch.empty(logprobs_BV.shape[-1]).exponential_(generator=s) for s in streams]
        )
        token_B = (logprobs_BV - noise_BV.to(logprobs_BV.device).log()).argmax(-1)
    return token_B, logprobs_BV.gather(-1, token_B[:, None])[:, 0]


def _cut(logits_BV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    if sampling.top_k:
        k = min(sampling.top_k, logits_BV.shape[-1])
        bar_B1 = logits_BV.topk(k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < bar_B1, -torch.inf)
    if sampling.top_p < 1:
        sorted_BV, order_BV = logits_BV.sort(descending=True)
        shares_BV = sorted_BV.softmax(-1)
        # A token stays while the mass before it is below top_p, so the first always stays.
        dropped_BV = shares_BV.cumsum(-1) - shares_BV >= sampling.top_p
        logits_BV = logits_BV.masked_fill(dropped_BV.scatter(1, order_BV, dropped_BV), -torch.inf)
    return logits_BV
