"""Loads models and tokenizers from a folder, a hub id, or the package (`esr:NAME`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.logging import disable_progress_bar

from esr_cli.distill.head import Head

# A progress bar per model and process adds nothing to the run's own log lines.
disable_progress_bar()
PACKAGED = Path(__file__).parent / "lab_pair"
# Settings of generation_config.json that only sampling uses.
SAMPLING = (
    "temperature", "top_p", "top_k", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
)  # fmt: skip


def resolve(path: str) -> str:
    """Resolves `esr:NAME` to the folder inside the package; returns other paths unchanged."""
    return str(PACKAGED / path.removeprefix("esr:")) if path.startswith("esr:") else path


def load_tokenizer(path: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model; remote code runs only if it is trusted."""
    return AutoTokenizer.from_pretrained(
        resolve(path), revision=revision, trust_remote_code=trust_remote_code
    )


def load_shape(path: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """The text configuration of a model (a multimodal model has others)."""
    return load_config(path, revision, trust_remote_code).get_text_config()


def load_config(path: str, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """The complete configuration of a model."""
    return AutoConfig.from_pretrained(
        resolve(path), revision=revision, trust_remote_code=trust_remote_code
    )


def end_ids(path: str, revision: str | None = None) -> tuple[int, ...]:
    """The end-of-text ids in the model's generation settings, often several."""
    try:
        named = GenerationConfig.from_pretrained(
            resolve(path), revision=revision or "main"
        ).eos_token_id
    except OSError:  # the settings are optional
        return ()
    return tuple(named) if isinstance(named, list) else () if named is None else (named,)


def load_model(
    path: str, dtype: str, device: str, revision: str | None = None,
    trust_remote_code: bool = False,
) -> Any:  # fmt: skip
    """A causal language model in evaluation mode; `dtype` is `float32` or `bfloat16`."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        resolve(path), revision=revision, dtype=getattr(torch, dtype),
        trust_remote_code=trust_remote_code,
        **_attention(load_shape(path, revision, trust_remote_code)),
    )  # fmt: skip
    if device.startswith("cuda"):
        # cuDNN's attention builds a plan for every length, and lengths change at every step.
        torch.backends.cuda.enable_cudnn_sdp(False)
    _without_idle_sampling(model.generation_config)
    return model.to(device).eval()


def load_generation(path: str, revision: str | None, config: Any) -> Any:
    """A model's generation settings as `load_model` leaves them: its own, or of its `config`."""
    try:
        found = GenerationConfig.from_pretrained(resolve(path), revision=revision or "main")
    except OSError:  # the settings are optional
        found = GenerationConfig.from_model_config(config)
    _without_idle_sampling(found)
    return found


def _without_idle_sampling(config: Any) -> None:
    """Drops sampling settings that greedy decoding ignores: transformers refuses to save them."""
    if config is not None and not config.do_sample:
        for key in SAMPLING:
            setattr(config, key, None)


def _attention(shape: Any) -> dict[str, str]:
    """Eager attention for Gemma-2: transformers' fused kernels do not soft-cap the scores."""
    capped = getattr(shape, "attn_logit_softcapping", None)
    return {"attn_implementation": "eager"} if capped else {}


def pick_device(wanted: str) -> str:
    """Resolves `auto`: CUDA if available, else CPU."""
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def pick_dtype(wanted: str, device: str) -> str:
    """Resolves `auto`: bf16 on CUDA and on CPUs with AMX, else fp32."""
    return choose_dtype(wanted, device, cpu_instructions())[0]


def cpu_instructions() -> tuple[str, ...]:
    """The instructions for products in bf16 that this machine's processor has."""
    has = {
        "AMX": torch.cpu._is_amx_tile_supported(),
        "AVX512_BF16": torch.cpu._is_avx512_bf16_supported(),
    }
    return tuple(name for name, found in has.items() if found)


def choose_dtype(wanted: str, device: str, instructions: Sequence[str]) -> tuple[str, str]:
    """The dtype for a `wanted` one, and why; see `cpu_instructions`.

    With AVX512_BF16 alone bf16 is faster too, but by less than with AMX, and a small model's
    log-probabilities then differ between engine and trainer by about the gauge's limit. Without
    either, products in bf16 are emulated, and slower than in fp32.
    """
    if wanted != "auto":
        return wanted, f"pair.dtype={wanted}"
    if device.startswith("cuda"):
        return "bfloat16", "pair.dtype=auto, on a GPU"
    if "AMX" in instructions:
        return "bfloat16", "pair.dtype=auto, on a CPU with AMX"
    if instructions:
        why = (
            f"pair.dtype=auto, on a CPU with {instructions[0]}: bfloat16 is faster and rounds more"
        )
        return "float32", why
    return "float32", "pair.dtype=auto, on a CPU without instructions for bfloat16"


def without_dropout(model: Any) -> None:
    """Disables all dropout: the model that trains is the one that the engine samples from."""
    for module in model.modules():
        for name in ("p", "dropout", "attention_dropout", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def compile_layers(model: Any) -> None:
    """Compiles each layer in place with dynamic lengths; weights keep their names.

    Equal layers are compiled only once; the whole model would be one large program.
    """
    for layer in layers(model):
        layer.compile(dynamic=True)


def layers(model: Any) -> list[Any]:
    """The layers of a transformers model; empty for a model with custom code."""
    return [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)]


def separate_layers(model: Any) -> list[Any]:
    """The outermost layers that share no weight with another: each can be gathered by itself."""
    inner = {id(each) for layer in layers(model) for each in layer.modules() if each is not layer}
    outermost = [layer for layer in layers(model) if id(layer) not in inner]
    holders = Counter(
        id(weight) for module in model.modules() for weight in module.parameters(recurse=False)
    )
    return [
        layer for layer in outermost if all(holders[id(each)] == 1 for each in layer.parameters())
    ]


def hidden_states(model: Any, input_ids_BL: torch.Tensor, **more: Any) -> torch.Tensor:
    """`hidden_BLD` before the output head.

    A row of one sequence needs no mask: it is right-padded and attention is causal. `more` is for
    other rows, see `grouped`.
    """
    return model.base_model(input_ids=input_ids_BL, use_cache=False, **more).last_hidden_state


def head_of(model: Any) -> Head:
    """The output projection, with the scaling and soft-capping of the configuration."""
    layer = model.get_output_embeddings()
    return head_like(model.config, layer.weight, getattr(layer, "bias", None))


def head_like(config: Any, weight_VD: torch.Tensor, bias_V: torch.Tensor | None) -> Head:
    """A head of these numbers, with the scaling and soft-capping of a configuration."""
    shape = config.get_text_config()
    scale = getattr(shape, "logit_scale", None) or 1.0
    scale /= getattr(shape, "logits_scaling", None) or 1.0
    return Head(weight_VD, bias_V, scale, getattr(shape, "final_logit_softcapping", None))


@torch.no_grad()
def head_agrees(model: Any, head: Head) -> bool:
    """Whether head(hidden) equals the model's own logits on a few token ids."""
    probe_BL = torch.arange(1, 9, device=model.device)[None]
    expected = model(input_ids=probe_BL, use_cache=False).logits[0].float()
    found = head.logits(hidden_states(model, probe_BL)[0]).float()
    tolerance = 1e-4 if model.dtype == torch.float32 else 5e-2
    return bool(torch.allclose(found, expected, rtol=tolerance, atol=tolerance))
