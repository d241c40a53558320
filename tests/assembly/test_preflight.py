"""Checks before a run: stop tokens, and the prompts of a benchmark for a model."""

from __future__ import annotations

import os
import shutil

import pytest
from conftest import read
from transformers import AutoTokenizer

from esr_cli.assembly import preflight
from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig, ConfigError, ModelConfig, RolloutConfig
from esr_cli.models.loading import PACKAGED


def test_stop_tokens_are_those_the_model_knows():
    tokenizer = AutoTokenizer.from_pretrained(PACKAGED / "student")
    ids = preflight.stop_ids(ModelConfig("esr:student"), tokenizer, ["<sep>", "<|im_end|>"])
    assert set(ids) == {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<sep>")}


def test_a_benchmark_is_asked_by_the_settings_of_the_model(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ messages[0].role }} {{ enable_thinking }}")
    model = ModelConfig(
        "esr:student", system="plan", thinking=True, chat_template=str(tmp_path / "t.jinja")
    )
    tokenizer = preflight.check_model("pair.student.path", model, RolloutConfig(engine="eager"))
    bench = catalog.load("lab", BenchmarkConfig(problems=1), None)
    exam = preflight.exam(bench, model, tokenizer, seed=0)
    expected = tokenizer("system True", add_special_tokens=False).input_ids
    assert exam.prompts[0].student_ids == tuple(expected)
    gone = ModelConfig("esr:student", chat_template="gone.jinja")
    with pytest.raises(ConfigError, match=r"pair\.student\.chat_template=gone\.jinja: cannot be"):
        preflight.check_model("pair.student.path", gone, RolloutConfig(engine="eager"))


def test_a_model_that_cannot_be_split_is_refused():
    config = read("rollout.tensor_parallel=2")
    with pytest.raises(
        ConfigError, match=r"rollout\.tensor_parallel=2: .* \(its 3 attention heads"
    ):
        preflight.check_models(config)
    config = read("rollout=eager", "teacher=vllm", "teacher.tensor_parallel=3")
    with pytest.raises(ConfigError, match=r"teacher\.tensor_parallel=3: .* MLP of width 256\)"):
        preflight.check_models(config)
    with pytest.raises(ConfigError, match=r"tensor_parallel=2: rollout=eager computes on one"):
        read("rollout=eager", "rollout.tensor_parallel=2")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("generation_config.json", None), ("tokenizer.json", "/dev/zero"),
        ("chat_template.jinja", "/nowhere"), ("config.json", b"[" * 9000),
        ("generation_config.json", b"[]"), ("tokenizer_config.json", b"{"),
    ],
)  # fmt: skip
def test_a_model_folder_from_a_stranger_is_one_line_and_no_wait(tmp_path, name, content):
    folder = tmp_path / "model"
    shutil.copytree(PACKAGED / "student", folder)
    path = folder / name
    path.unlink(missing_ok=True)
    if content is None:
        os.mkfifo(path)
    elif isinstance(content, str):
        path.symlink_to(content)
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        preflight.check_model("model", ModelConfig(str(folder)), RolloutConfig(engine="eager"))
    assert str(path.parent) in str(caught.value) and name in str(caught.value)
    assert "\n" not in str(caught.value)
