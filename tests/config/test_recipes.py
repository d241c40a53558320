"""The recipes: what the paper states, and the authors' code point by point."""

from __future__ import annotations

import pytest
from conftest import read

from esr_cli.cli.spelling import normalized

MAIN = ("pair=qwen25math_1p5b__qwen3_1p7b", "+rollout_len=100")
THINK = "<think>\n\n</think>\n\n"


def test_the_authors_recipe_point_by_point():
    config = read(*MAIN, "recipe=authors")
    pair, tune, task = config.pair, config.tune, config.task
    assert pair.student.system is None and pair.teacher.system is None
    assert task.system == "Please reason step by step, and put your final answer within \\boxed{}."
    assert task.wording == "{problem}" and config.benchmark["math500"].system is None
    assert config.benchmark["math500"].wording.startswith("{problem}\n\nLet's think step by step")
    assert pair.teacher.reads == "student"
    assert pair.student.before_response == pair.teacher.before_response == THINK
    assert (pair.train_ends, pair.stop, pair.vocabulary, pair.merge_eos) == (
        False, "student", "all", False,
    )  # fmt: skip
    assert (config.rollout.temperature, config.rollout.top_p) == (0.7, 0.95)
    loss = config.loss
    assert (loss.divergence, loss.temperature, loss.reduction) == (
        "reverse_kl", 1.0, "sequence_mean",
    )  # fmt: skip
    assert (tune.beta1, tune.beta2, tune.weight_decay, tune.clip_norm) == (0.9, 0.999, 0.01, 1.0)
    assert (tune.schedule, tune.warmup_share) == ("cosine", 0.1)
    assert (tune.method, tune.rank, tune.alpha, tune.dropout) == ("lora", 32, 64, 0.05)
    assert len(tune.targets) == 7 and tune.learning_rate == 5e-5
    assert (task.sample.rows, task.sample.seed, task.ngram) == (3200, 42, 0)
    assert (config.steps, config.prompts_per_step) == (200, 16)
    math = config.benchmark["math500"]
    assert (math.samples, math.temperature, math.max_tokens, math.box) == (4, 0.7, 2048, "last")
    full = read(*MAIN, "recipe=authors", "tune=authors_full").tune
    assert (full.method, full.master, full.learning_rate) == ("full", "none", 5e-6)
    code = read(*MAIN, "recipe=authors", "benchmark=[humaneval_authors,mbpp_authors]").benchmark
    for each in code.values():
        assert each.prompt == "raw" and each.max_tokens == 512 and each.temperature == 0
        assert each.stop_texts == ["\nclass", "\ndef", "\n#", "\nif __name__", "\nprint("]


def test_the_paper_s_recipe_is_that_of_its_pairs():
    config = read(*MAIN)
    assert read(*MAIN, "recipe=paper") == config
    assert config.pair.student.system == "You are a helpful assistant."
    assert (config.tune.method, config.tune.rank, config.tune.learning_rate) == ("lora", 32, 5e-5)
    assert (config.steps, config.prompts_per_step, config.rollouts_per_prompt) == (200, 16, 1)
    assert config.pair.train_ends and config.pair.stop == "both"
    # A setting of the command line wins over the recipe.
    assert read(*MAIN, "recipe=authors", "pair.train_ends=true").pair.train_ends


@pytest.mark.parametrize("given", ["recipe=authors", "+recipe=authors", "++recipe=authors"])
def test_a_recipe_takes_a_plus_or_none(given):
    assert normalized(given) == "recipe=authors"
