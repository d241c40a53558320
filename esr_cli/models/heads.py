"""Whether a model folder's files and its configuration agree on the output head."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

HEAD = re.compile(r"(^|\.)(lm_head|embed_out)\.weight$")
# Anything that may be a head, quantized ones included.
MAYBE_HEAD = re.compile(r"head|embed_out|^output\.")
INDEX = "model.safetensors.index.json"
ROWS = 8192


def problem(folder: Path, shape: Any) -> str:
    """What is wrong with the output head, with the remedy; empty if nothing is.

    `shape` is the text configuration. With tied embeddings transformers still uses a head of its
    own in the files, vLLM the embedding; without a head in the files both use random numbers.
    Only names and shapes are read, unless the files hold a head beside tied embeddings. Weights
    other than safetensors are not checked.
    """
    try:
        files = _files(folder)
        shapes = {name: each for file in files for name, each in _header(file).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its weights cannot be read ({error!r}); copy them again"
    if not shapes:
        return ""
    head = next((name for name in shapes if HEAD.search(name)), None)
    if not getattr(shape, "tie_word_embeddings", False):
        matrices = [s for s in shapes.values() if s == [shape.vocab_size, shape.hidden_size]]
        if len(matrices) == 1 and not any(MAYBE_HEAD.search(name) for name in shapes):
            return (
                "its files hold no output head, and tie_word_embeddings=false; "
                "write tie_word_embeddings: true into its config.json, or add the head"
            )
        return ""
    if head is None:
        return ""
    others = [name for name, size in shapes.items() if size == shapes[head] and name != head]
    if not others:
        return (
            f"its files hold {head} and no embedding, and tie_word_embeddings=true; save the "
            "model again with transformers"
        )
    if any(_equal(files, head, other) for other in others):
        return ""
    return (
        f"its files hold {head}, which differs from the embedding, and tie_word_embeddings=true; "
        "write tie_word_embeddings: false into its config.json to keep that head, or delete it"
    )


def _files(folder: Path) -> list[Path]:
    """The files that transformers loads; a folder may hold others, of adapters or other formats."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if not (folder / INDEX).is_file():
        return []
    names = json.loads((folder / INDEX).read_text())["weight_map"].values()
    return [folder / name for name in sorted(set(names)) if (folder / name).is_file()]


def _header(file: Path) -> dict[str, list[int]]:
    """The shape of each tensor, from the length-prefixed JSON at the start of the file."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    return {name: each["shape"] for name, each in header.items() if name != "__metadata__"}


def _equal(files: list[Path], one: str, other: str) -> bool:
    """Whether two tensors of one shape are the same, compared by a few thousand rows at a time."""
    from safetensors import safe_open

    places = {name: file for file in files for name in _header(file) if name in (one, other)}
    with safe_open(places[one], "pt") as a, safe_open(places[other], "pt") as b:
        left, right = a.get_slice(one), b.get_slice(other)
        return left.get_dtype() == right.get_dtype() and all(
            bool((left[start : start + ROWS] == right[start : start + ROWS]).all())
            for start in range(0, left.get_shape()[0], ROWS)
        )
