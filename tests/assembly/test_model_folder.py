"""Broken model folders and templates: one line before anything loads."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from conftest import read

from esr_cli.assembly import preflight
from esr_cli.assembly.preflight import check_models
from esr_cli.config import ConfigError, ModelConfig

PATH = "pair.student.path"
LOOP = b"{% for a in range(99999) %}" * 3 + b"{% endfor %}" * 3


def broken(tiny_pair, tmp_path, name, content):
    """A copy of the student in which one file has this content, is a FIFO (None), a folder or a
    link (str).
    """
    folder = shutil.copytree(tiny_pair / "student", tmp_path / "student")
    (folder / name).unlink(missing_ok=True)
    if content is None:
        os.mkfifo(folder / name)
    elif content is list:
        (folder / name).mkdir()
    elif isinstance(content, str):
        (folder / name).symlink_to(content)
    else:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "config.json cannot be read"),
        ("config.json", b"[]", "config.json cannot be read"),
        ("config.json", None, "config.json cannot be read .is a pipe"),
        ("tokenizer.json", None, "tokenizer.json cannot be read .is a pipe"),
        ("tokenizer.json", list, "tokenizer.json is a folder"),
        ("tokenizer.json", b"{}", "no tokenizer there"),
        ("tokenizer.json", b"\xff\xfe", "not UTF-8"),
        ("tokenizer_config.json", b"[" * 9999, "nested too deep"),
        ("model.safetensors", b"\x10\x00\x00", "model.safetensors cannot be read"),
        ("model.safetensors", "/proc/self/mem", "model.safetensors cannot be read"),
        ("tokenizer.json", "/proc/self/mem", "tokenizer.json cannot be read"),
        (
            "chat_template.jinja",
            b"{% for a in range(99999) %}" * 3 + b"{% endfor %}" * 3,
            "more than 2 s",
        ),
        ("chat_template.jinja", b"{{ 'x' * 10 ** 10 }}", "more than 2 GiB"),
    ],
)
def test_a_broken_file_of_a_model_is_one_line(tiny_pair, tmp_path, name, content, message):
    folder = broken(tiny_pair, tmp_path, name, content)
    with pytest.raises(ConfigError, match=message):
        check_models(read("rollout=eager", f"{PATH}={folder}"))


def test_a_truncated_weight_file_is_found_before_it_loads(tiny_pair, tmp_path):
    content = (tiny_pair / "student" / "model.safetensors").read_bytes()
    folder = broken(tiny_pair, tmp_path, "model.safetensors", content[:-100])
    with pytest.raises(ConfigError, match=r"model.safetensors cannot be read"):
        check_models(read("rollout=eager", f"{PATH}={folder}"))


def test_end_tokens_of_a_wrong_type_are_a_line(tiny_pair, tmp_path):
    settings = json.dumps({"eos_token_id": ["x"]}).encode()
    folder = broken(tiny_pair, tmp_path, "generation_config.json", settings)
    config = read("rollout=eager", f"{PATH}={folder}")
    tokenizer, _ = check_models(config)
    with pytest.raises(ConfigError, match=r"generation_config.json cannot be read"):
        preflight.stop_ids(ModelConfig(str(folder)), tokenizer, [])


def test_a_tokenizer_larger_than_its_model_is_a_line(tiny_pair, tmp_path):
    folder = broken(tiny_pair, tmp_path, "tokenizer_config.json", b"{}")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 4000, "content": "<y>"})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ConfigError, match=r"embeddings; copy all its tokenizer files"):
        check_models(read("rollout=eager", f"{PATH}={folder}"))
