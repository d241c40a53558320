"""Benchmarks from their settings: where the data files are found, and what they hold."""

from __future__ import annotations

import json
import os

import pytest
from conftest import read

from esr_cli.base.files import conf_dir
from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.exam import settings_hash
from esr_cli.config import BenchmarkConfig, EvalConfig, HubConfig


def settings(name):
    overrides = (f"benchmark={name}", "model=x")
    return read(*overrides, command="eval", schema=EvalConfig).benchmark[name]


def test_data_are_found_by_data_dir_environment_and_hub_name(tmp_path, monkeypatch):
    monkeypatch.delenv("ESR_DATA", raising=False)
    for number, place in enumerate(("given", "environment", "hub")):
        (tmp_path / place).mkdir()
        values = {"problem": place, "answer": str(number)}
        (tmp_path / place / "test.jsonl").write_text(json.dumps(values) + "\n")
    # `datasets` accepts a local folder with a repository layout as a name.
    config = BenchmarkConfig(
        kind="math", files=["test.jsonl"], hub=HubConfig(path=str(tmp_path / "hub"))
    )

    def reference(data_dir):
        return catalog.load("m", config, data_dir).questions[0].reference

    assert reference(None) == "2"
    monkeypatch.setenv("ESR_DATA", str(tmp_path / "environment"))
    assert reference(None) == "1"
    assert reference(str(tmp_path / "given")) == "0"


def test_questions_of_one_s_own_are_told_apart_by_what_they_ask_and_not_by_their_folder(tmp_path):
    def asked(folder, problem, name="mine", limit=None, **settings):
        path = tmp_path / folder / "my.jsonl"
        path.parent.mkdir(exist_ok=True)
        lines = [{"problem": each, "answer": "2"} for each in (problem, "last")]
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
        config = BenchmarkConfig(kind="math", files=[str(path)], **settings)
        benchmark = catalog.load(name, config, None, limit)
        part = benchmark.answered(benchmark.questions[:1], 1)
        assert settings_hash(part) == settings_hash(benchmark)
        return settings_hash(benchmark)

    first = asked("a", "1+1")
    assert first == asked("b", "1+1") == asked("b", "1+1", limit=1)
    assert len({first, asked("b", "3-1"), asked("b", "1+1", temperature=0.5)}) == 3
    assert "['1', '2'], {'a', 'b'}" in catalog._fixed({"x": (["1", "2"], {"b", "a"})})
    # The names of published files stand for their questions: results on record keep their hash.
    assert asked("a", "1+1", name="gsm8k") == asked("b", "3-1", name="gsm8k")


@pytest.mark.parametrize("path", sorted((conf_dir() / "benchmark").glob("*.yaml")), ids=str)
def test_every_benchmark_composes_names_its_source_and_loads_if_its_files_exist(path):
    config = settings(path.stem)
    made = config.kind in ("lab", "words")
    assert made or (config.files and config.source)
    if made or os.environ.get("ESR_DATA"):
        bench = catalog.load(path.stem, config, None)
        expected = {"gsm8k": 1319, "math500": 500, "bfcl": 600, "lab": 512, "words": 128}
        code_size = 378 if "mbpp" in path.stem else 164
        assert len(bench.questions) == expected.get(path.stem, code_size)
