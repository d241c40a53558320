"""The model of an evaluation: from `model=` or from a run."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import read
from transformers import AutoTokenizer

from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig, ConfigError, EvalConfig, ModelConfig, RolloutConfig
from esr_cli.eval import model as eval_model


def test_system_text_is_set_for_a_model_and_read_from_a_run(unbroken):
    lab = {"lab": BenchmarkConfig()}
    config = EvalConfig(benchmark=lab, model="m", system="Brief.", thinking=True)
    model = eval_model._of_model(config).model
    assert (model.system, model.thinking) == ("Brief.", True)
    for given in ({"run": "r"}, {"generations": "g"}):
        with pytest.raises(ConfigError, match="goes with model= only"):
            EvalConfig(benchmark=lab, system="Brief.", **given)
        with pytest.raises(ConfigError, match="system=: goes with model= only"):
            EvalConfig(benchmark=lab, system="", **given)
        with pytest.raises(ConfigError, match="split_special_tokens=False: goes with model="):
            EvalConfig(benchmark=lab, split_special_tokens=False, **given)
    model = eval_model._of_run(EvalConfig(benchmark=lab, run=str(unbroken))).model
    assert model == ModelConfig(str(unbroken / "student"))


@pytest.mark.parametrize(("typed", "meant"), [('system=""', ""), ("system=", ""), ("seed=0", None)])
def test_an_empty_system_prompt_can_be_typed(typed, meant):
    config = read("model=esr:student", typed, command="eval", schema=EvalConfig)
    model = eval_model._of_model(config).model
    assert model.system == meant
    if "system" in typed:
        assert read(f"pair.student.{typed}").pair.student.system == meant


def planned(tiny_pair, folder, template, stop_tokens=(), config=None, data_dir=None):
    """The plan for a model with another chat template."""
    shutil.copytree(tiny_pair / "student", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    lab = BenchmarkConfig(problems=1, max_tokens=8, stop_tokens=list(stop_tokens))
    config = EvalConfig(
        benchmark={"lab": config or lab}, model=str(folder), rollout=RolloutConfig(engine="eager")
    )
    return eval_model.plan(config, catalog.load_all(config.benchmark, data_dir, None))


def test_a_template_that_closes_an_answer_with_no_stop_token_is_refused(tiny_pair, tmp_path):
    """As in training: responses would all run to their limit."""
    turns = "{% for m in messages %}<bos> {{ m.content }} <sep>{% endfor %}"
    message = r"model=.*closes an answer with '<sep>', none .*benchmark\.lab\.stop_tokens"
    with pytest.raises(ConfigError, match=message):
        planned(tiny_pair, tmp_path / "a", turns)
    plan = planned(tiny_pair, tmp_path / "b", turns, ["<sep>"])
    assert len(plan.exams[0].sampling.stop_ids) == 2


def test_a_model_without_a_template_is_evaluated_with_a_warning(tiny_pair, tmp_path, capsys):
    planned(tiny_pair, tmp_path / "a", None)
    assert "warning: model=" in (line := capsys.readouterr().out) and "concatenated" in line


def test_a_raw_prompt_needs_no_template(tiny_pair, tmp_path, capsys):
    row = {
        "task_id": "T/0", "prompt": "a", "entry_point": "f", "canonical_solution": "b",
        "base_input": [], "plus_input": [], "atol": 0,
    }  # fmt: skip
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    raw = BenchmarkConfig(kind="code", files=["rows.jsonl"], prompt="raw", max_tokens=8)
    # A template that closes an answer with no stop token, and none at all.
    for name, template in (
        ("a", "{% for m in messages %}{{ m.content }} <sep>{% endfor %}"),
        ("b", None),
    ):
        plan = planned(tiny_pair, tmp_path / name, template, config=raw, data_dir=str(tmp_path))
        [prompt] = plan.exams[0].prompts
        assert prompt.text == "a\n" and not capsys.readouterr().out
