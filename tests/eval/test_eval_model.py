"""The model of an evaluation: from `model=` or from a run."""

from __future__ import annotations

import pytest
from conftest import read

from esr_cli.config import BenchmarkConfig, ConfigError, EvalConfig, ModelConfig
from esr_cli.eval import model as eval_model


def test_system_text_is_set_for_a_model_and_read_from_a_run(unbroken):
    lab = {"lab": BenchmarkConfig()}
    config = EvalConfig(benchmark=lab, model="m", system="Brief.", thinking=True)
    model, *_ = eval_model._of_model(config)
    assert (model.system, model.thinking) == ("Brief.", True)
    for given in ({"run": "r"}, {"generations": "g"}):
        with pytest.raises(ConfigError, match="goes with model= only"):
            EvalConfig(benchmark=lab, system="Brief.", **given)
        with pytest.raises(ConfigError, match="system=: goes with model= only"):
            EvalConfig(benchmark=lab, system="", **given)
        with pytest.raises(ConfigError, match="split_special_tokens=False: goes with model="):
            EvalConfig(benchmark=lab, split_special_tokens=False, **given)
    model, *_ = eval_model._of_run(EvalConfig(benchmark=lab, run=str(unbroken)))
    assert model == ModelConfig(str(unbroken / "student"))


@pytest.mark.parametrize(("typed", "meant"), [('system=""', ""), ("system=", ""), ("seed=0", None)])
def test_an_empty_system_prompt_can_be_typed(typed, meant):
    config = read("model=esr:student", typed, command="eval", schema=EvalConfig)
    model, *_ = eval_model._of_model(config)
    assert model.system == meant
    if "system" in typed:
        assert read(f"pair.student.{typed}").pair.student.system == meant
