"""Models by their name on the hub, without a network: from the cache, or one line."""

from __future__ import annotations

import json
import shutil
import time

import pytest
from conftest import esr, free_port, rows

from esr_cli.assembly import model_folder
from esr_cli.base import hub
from esr_cli.config import ConfigError, ModelConfig

EAGER = ("rollout=eager", "execution=inline", "limit=1", "benchmark.lab.max_tokens=4")


def cached(cache, name):
    """The folder of a model in the cache, laid out as huggingface_hub does it; not made yet."""
    repo = cache / f"models--me--{name}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    return repo / "snapshots" / ("0" * 40)


def test_a_cached_model_loads_without_a_network(tiny_pair, tmp_path):
    shutil.copytree(tiny_pair / "student", cached(tmp_path / "hf" / "hub", "student"))
    # The libraries read these when they are imported.
    offline = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = esr("eval", "model=me/student", *EAGER, "out=o", cwd=tmp_path, env=offline, fresh=True)
    assert done.returncode == 0, done.stdout + done.stderr
    local = esr("eval", f"model={tiny_pair / 'student'}", *EAGER, "out=local", cwd=tmp_path)
    assert local.returncode == 0, local.stderr
    assert rows(tmp_path / "o", "generations.jsonl") == rows(
        tmp_path / "local", "generations.jsonl"
    )


def test_what_is_not_in_the_cache_is_one_line(tiny_pair, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    hub.out_of_reach.cache_clear()
    bare = cached(tmp_path, "bare")
    bare.mkdir(parents=True)
    shutil.copy(tiny_pair / "student" / "config.json", bare)
    for name, missing in (("bare", "its weights are"), ("other", "the model is")):
        message = f"model=me/{name}: HF_HUB_OFFLINE is set, and {missing} not in the cache; give"
        with pytest.raises(ConfigError, match=message):
            model_folder.check("model", ModelConfig(f"me/{name}"), need_weights=True)
    model_folder.check("model", ModelConfig("me/bare"), need_weights=False)
    hub.out_of_reach.cache_clear()


def test_a_hub_out_of_reach_is_one_line_at_once(tmp_path, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "ESR_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    (tmp_path / "my.jsonl").write_text(json.dumps({"prompt": "Hi"}) + "\n")
    own = ("pair=own", "pair.student.path=me/a", "pair.teacher.path=me/b", "+rollout_len=8")
    for command, said in (
        (("eval", "model=me/a", *EAGER), "model=me/a: 127.0.0.1 is out of reach"),
        (("train", *own, "task=jsonl", "task.files=[my.jsonl]"), "pair.student.path=me/a: 127"),
        (("train", "task=gsm8k", "+rollout_len=8"), "openai/gsm8k by name (127.0.0.1 is out"),
    ):
        start = time.perf_counter()
        done = esr(*command, "rollout=eager", "execution=inline", cwd=tmp_path)
        seconds = time.perf_counter() - start
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert said in done.stderr, done.stderr
        # Five retries alone would wait for half a minute.
        assert seconds < 15, f"{seconds:.1f} s"
