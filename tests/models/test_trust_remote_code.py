"""Models with custom code load only with `trust_remote_code`."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from esr_cli.models import loading
from esr_cli.models.reading import reader
from esr_cli.models.vocabulary import align
from esr_cli.rollout.eager import EagerEngine
from esr_cli.teacher.teacher import Teacher


def test_custom_model_code_runs_only_with_trust_remote_code(tiny_pair, tmp_path, monkeypatch):
    # The folder that transformers copies such code to.
    cache = str(tmp_path / "modules")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", cache)
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = shutil.copytree(tiny_pair / "student", tmp_path / "mine")
    (folder / "mine.py").write_text(
        "from transformers import Qwen3Config, Qwen3ForCausalLM\n"
        "class MineConfig(Qwen3Config):\n    model_type = 'mine'\n"
        "class MineModel(Qwen3ForCausalLM):\n    config_class = MineConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.MineModel"}
    (folder / "config.json").write_text(json.dumps(config))
    path = str(folder)
    with pytest.raises(ValueError, match="trust_remote_code"):
        loading.load_model(path, "float32", "cpu")
    assert type(loading.load_model(path, "float32", "cpu", None, True)).__name__ == "MineModel"
    assert loading.load_shape(path, None, True).max_position_embeddings > 0
    assert loading.load_tokenizer(path, None, True).eos_token_id is not None
    EagerEngine(path, "float32", 2, trust_remote_code=True)
    words = loading.load_tokenizer("esr:student")
    met = align(words, words, "ids")
    same = reader(met, words, words), met.teacher_of
    Teacher(path, "float32", "cpu", 64, None, *same, trust_remote_code=True)
