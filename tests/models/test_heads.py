"""Model folders whose files and configuration disagree on the output head."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import read
from safetensors.torch import load_file, save_file

from esr_cli.assembly import preflight
from esr_cli.config import ConfigError
from esr_cli.models.loading import load_model

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
OWN_HEAD = "differs from the embedding, and tie_word_embeddings=true; .*: false into its config"
NO_HEAD = "hold no output head, and tie_word_embeddings=false; write tie_word_embeddings: true"


@pytest.fixture
def folder(tiny_pair, tmp_path):
    for file in (tiny_pair / "student").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def tie(folder, tied):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": tied}))


def change(folder, shards=False, **more):
    """Adds tensors to the folder's file (None: removes one), which may become two files."""
    file = folder / "model.safetensors"
    tensors = {**load_file(file), **more}
    tensors = {name: each for name, each in tensors.items() if each is not None}
    if not shards:
        save_file(tensors, file, {"format": "pt"})
        return
    file.unlink()
    parts = {name: f"model-{1 + (name == HEAD)}.safetensors" for name in tensors}
    for part in set(parts.values()):
        kept = {name: each for name, each in tensors.items() if parts[name] == part}
        save_file(kept, folder / part, {"format": "pt"})
    index = {"metadata": {}, "weight_map": parts}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def checked(folder, role="student"):
    return preflight.check_models(read("rollout=eager", f"pair.{role}.path={folder}"))


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_head_of_its_own_beside_tied_embeddings_is_refused(folder, role, shards):
    embedding = load_file(folder / "model.safetensors")[EMBEDDING]
    checked(folder, role)
    change(folder, shards, **{HEAD: embedding + 1})
    with pytest.raises(ConfigError, match=rf"pair\.{role}\.path=.*{OWN_HEAD}"):
        checked(folder, role)
    # The remedy.
    tie(folder, False)
    checked(folder, role)
    model = load_model(str(folder), "float32", "cpu")
    assert torch.equal(model.lm_head.weight, embedding + 1)


@pytest.mark.parametrize("shards", [False, True])
def test_a_head_that_repeats_the_tied_embedding_is_fine(folder, shards):
    """Some published models are saved like this."""
    change(folder, shards, **{HEAD: load_file(folder / "model.safetensors")[EMBEDDING].clone()})
    checked(folder)


def test_a_tied_head_without_its_embedding_is_refused(folder):
    embedding = load_file(folder / "model.safetensors")[EMBEDDING]
    change(folder, **{HEAD: embedding, EMBEDDING: None})
    with pytest.raises(ConfigError, match="no embedding, and tie_word_embeddings=true"):
        checked(folder)


def test_a_model_that_is_not_tied_needs_a_head(folder):
    tie(folder, False)
    with pytest.raises(ConfigError, match=NO_HEAD):
        checked(folder)
    tie(folder, True)
    checked(folder)


def test_other_files_beside_the_weights_are_not_read(folder):
    save_file({HEAD: torch.ones(108, 64)}, folder / "consolidated.safetensors")
    checked(folder)
