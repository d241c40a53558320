"""The bench's prompts of a given length, and which of its arms fit into memory side by side."""

from __future__ import annotations

import json

import pytest
from conftest import read

from esr_cli.bench import room
from esr_cli.bench.prompts import bench_task
from esr_cli.bench.room import Estimate
from esr_cli.config import BenchConfig, ConfigError
from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.lab.tokenizers import lab_tokenizer


def configured(*overrides):
    return read(*overrides, command="bench", schema=BenchConfig)


@pytest.mark.parametrize("tokens", [20, 120])
def test_given_prompts_have_that_many_tokens_for_both_models(tokens):
    config = configured("rollout_lens=[4]", "pair.teacher.before_response='plan : careful'")
    both = lab_tokenizer(), bytes_tokenizer()
    made = bench_task(config, both, tokens)
    found = [made.train(step, 3) for step in (0, 1)]
    for each in (*found[0], *found[1]):
        assert len(each.student_ids) == len(each.teacher_ids) == tokens
    assert made.train(0, 3) == found[0], "they depend on the seed and the step alone"
    assert len({each.student_ids for step in found for each in step}) == 6
    # They end as the task's own prompts do, which the chat template ends.
    own = bench_task(config, both, None).train(0, 1)[0]
    for role in ("student_ids", "teacher_ids"):
        assert getattr(found[0][0], role)[-3:] == getattr(own, role)[-3:]


def test_a_short_task_gives_long_prompts(tmp_path):
    """Two rows of a few tokens each, which are repeated."""
    rows = [{"id": str(n), "prompt": f"{n} + 1", "answer": "2"} for n in (1, 2)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = configured(
        "task=jsonl", "task.files=[mine.jsonl]", f"data_dir={tmp_path}", "task.ngram=0"
    )
    tokenizer = bytes_tokenizer()
    [made] = bench_task(config, [tokenizer] * 2, 190).train(5, 1)
    assert len(made.student_ids) == len(made.teacher_ids) == 190


def test_memory_is_estimated_from_the_shapes(tiny_pair):
    paths = [f"pair.{role}.path={tiny_pair / role}" for role in ("student", "teacher")]
    config = configured(*paths, "peer=trl", "engines=[eager,vllm]", "rollout_lens=[8]")
    prompts = bench_task(config, [lab_tokenizer()] * 2, 40).train(0, 1)
    found = room.estimates(config, config, prompts)
    # Of models this small, libraries are nearly all: three processes of ours, one of the peer.
    assert found["eager"].gib == pytest.approx(1.5, abs=0.3)
    assert found["vllm"].gib > found["eager"].gib > found["trl"].gib > found["trl"].sure > 0
    larger = configured(*paths, "peer=trl", "rollout_lens=[8]", "rollouts_per_prompt=64")
    more = room.estimates(larger, larger, prompts)
    # The peer passes all responses at once, ours pass in micro-batches.
    assert more["trl"].gib - found["trl"].gib > more["eager"].gib - found["eager"].gib


ESTIMATES = {"eager": Estimate(6.0, 4.0), "trl": Estimate(5.0, 3.0)}


@pytest.mark.parametrize(
    ("override", "free", "groups"),
    [
        ("in_turns=null", 12.0, [["eager", "trl"]]),
        ("in_turns=null", 10.0, [["eager"], ["trl"]]),
        ("in_turns=true", 12.0, [["eager"], ["trl"]]),
        ("in_turns=false", 10.0, [["eager", "trl"]]),
    ],
)
def test_arms_that_do_not_fit_side_by_side_take_turns(override, free, groups, capsys):
    assert room.groups(configured(override), ESTIMATES, free) == groups
    line = f"memory: about eager 6.0 + trl 5.0 GiB of {free:.1f} GiB of free memory: "
    said = capsys.readouterr().out
    assert said.startswith(line) and said.count("\n") == 1 and "even alone" not in said
    room.groups(configured(override), ESTIMATES, 5.5)
    assert "; eager may not fit even alone\n" in capsys.readouterr().out


def test_an_arm_that_does_not_fit_alone_is_refused():
    with pytest.raises(ConfigError, match=r"engines=\[eager\]: its weights and optimizer take 4.0"):
        room.groups(configured(), ESTIMATES, 3.5)
    with pytest.raises(ConfigError, match=r"peer=trl: .* of free memory; give smaller models"):
        room.groups(configured(), {"trl": ESTIMATES["trl"]}, 2.0)
