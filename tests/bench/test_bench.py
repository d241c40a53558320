"""The bench: floors against values computed by hand, its records, and the command with a peer."""

from __future__ import annotations

import importlib.util
import json
import runpy

import pytest
from conftest import ROOT, esr, read
from failing_peer import FailingEngine, FailingPeer, step_row

from esr_cli.bench import arms, record
from esr_cli.bench import command as bench
from esr_cli.check.ceilings import measure
from esr_cli.check.floors import Ceilings, Work, floors
from esr_cli.config import BenchConfig, TuneConfig
from esr_cli.execution.worker import WorkerError
from esr_cli.models.outlines import outline

# One layer: queries and output 8 x 8, keys and values 8 x 4, three of 8 x 16; a head of 50 x 8.
BODY, HEAD = 64 + 64 + 32 + 32 + 3 * 128, 400


def tiny_outline():
    from transformers import Qwen3Config

    return outline(
        Qwen3Config(
            vocab_size=50, hidden_size=8, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, head_dim=4, tie_word_embeddings=True,
        )
    )  # fmt: skip


def test_floors_are_flops_if_memory_is_infinitely_fast():
    """Computed by hand for a prompt of 3 tokens and a response of 2."""
    work = Work((3,), (4,), (2,))
    tune = TuneConfig(method="full")
    ceilings = Ceilings(bytes_per_s=1e30, flops_per_s=1.0, dtype="float32")
    found = floors(tiny_outline(), tiny_outline(), tune, work, 4, ceilings)
    forward = 2 * BODY * 5 + 2 * 8 * 25
    assert found["generate"] == forward + 2 * HEAD * 2
    assert found["score"] == 2 * BODY * 6 + 2 * 8 * 36
    # Layers: forward and backward. Student's head: forward, two products back. Teacher's: forward.
    assert found["train"] == 3 * forward + (3 + 1) * 2 * HEAD * 2
    assert found["sync"] < 1e-9
    assert found["step"] == sum(found[name] for name in ("generate", "score", "train", "sync"))


def test_a_prompt_of_several_responses_counts_once():
    """Two responses of 2 tokens: both see the prompt of 3, whose own tokens count once."""
    tune = TuneConfig(method="full")
    ceilings = Ceilings(bytes_per_s=1e30, flops_per_s=1.0, dtype="float32")
    work = Work((3, 3), (4, 4), (2, 2), repeated=(3,), teacher_repeated=(4,))
    found = floors(tiny_outline(), tiny_outline(), tune, work, 4, ceilings)
    forward = 2 * BODY * 7 + 2 * 8 * (3**2 + 2 * (5**2 - 3**2))
    assert found["train"] == 3 * forward + (3 + 1) * 2 * HEAD * 4
    assert found["generate"] == forward + 2 * HEAD * 4
    assert found["score"] == 2 * BODY * 8 + 2 * 8 * (4**2 + 2 * (6**2 - 4**2))


def test_floors_are_memory_traffic_if_compute_is_infinitely_fast():
    work = Work((3, 3), (4, 4), (2, 1))
    ceilings = Ceilings(bytes_per_s=1.0, flops_per_s=1e30, dtype="float32")
    full = floors(tiny_outline(), tiny_outline(), TuneConfig(method="full"), work, 4, ceilings)
    # Two decoding steps; keys and values are 8 numbers per attended token.
    attended = (2 * 3 + 2) + (1 * 3 + 0.5)
    assert full["generate"] == 2 * (BODY + HEAD) * 4 + attended * 8 * 4
    assert full["score"] == BODY * 4
    assert full["sync"] == 2 * (BODY + HEAD) * 4
    lora = floors(
        tiny_outline(), tiny_outline(), TuneConfig(method="lora", rank=2), work, 4, ceilings
    )
    assert lora["sync"] == 4 * BODY * 4 and lora["train"] < full["train"]


def test_measured_ceilings_are_plausible_and_give_seconds():
    found = measure("cpu", "float32")
    assert found.bytes_per_s > 1e8 and found.flops_per_s > 1e8
    assert found.seconds(found.bytes_per_s, 0) == 1 and found.seconds(0, 2 * found.flops_per_s) == 2


STEPS = {
    ("eager", "8"): [step_row(1.0, 8), step_row(3.0, 8), step_row(2.0, 8)],
    ("eager", "16"): [step_row(4.0, 16)] * 3,
    ("eager", "full"): [step_row(6.0, 24)] * 3,
    ("trl", "8"): [step_row(2.0, 8), step_row(6.0, 8), step_row(6.0, 8)],
}


def test_rows_are_medians_and_memory_is_the_highest_peak():
    rows = {(row["arm"], row["length"], row["phase"]): row for row in record.rows(STEPS)}
    assert rows["eager", "8", "step"]["seconds"] == 2.0
    assert rows["eager", "8", "step"]["floor"] == 0.5
    assert rows["eager", "8", "other"]["seconds"] == 1.75
    assert record.memory(STEPS)[0] == {
        "arm": "eager", "length": "8", "process": "trainer", "gib": 3.0,
    }  # fmt: skip


def test_ratios_pair_consecutive_steps():
    found = record.ratios(STEPS, "trl")
    assert list(found) == ["eager"] and list(found["eager"]) == ["8"]
    assert found["eager"]["8"] == {"ratio": 2.0, "low": 2.0, "high": 3.0}


def test_scoring_and_training_have_a_row_and_a_ratio_of_their_own():
    def step(score, train):
        made = step_row(9.0, 8)
        made["seconds"] |= {"score": score, "train": train}
        return made | {"floor": {"step": 0.5, "score": 0.25, "train": 0.5}}

    steps = {
        ("eager", "8"): [step(1.0, 2.0), step(1.0, 4.0), step(1.0, 3.0)],
        ("trl", "8"): [step(2.0, 4.0), step(1.0, 9.0), step(2.0, 2.0)],
    }
    [row] = [
        row for row in record.rows(steps)
        if row["arm"] == "eager" and row["phase"] == "score+train"
    ]  # fmt: skip
    assert row["all"] == [3.0, 5.0, 4.0] and row["seconds"] == 4.0 and row["floor"] == 0.75
    found = record.ratios(steps, "trl", "score+train")
    assert found == {"eager": {"8": {"ratio": 2.0, "low": 1.0, "high": 2.0}}}


def test_losses_are_compared_even_if_student_and_teacher_are_the_same_model():
    assert bench.relative_difference(2.0, 4.0) == bench.relative_difference(6.0, 4.0) == 0.5
    assert bench.relative_difference(0.0, 0.0) == 0
    assert bench.relative_difference(1e-7, 0.0) < min(bench.LOSS_TOLERANCE.values())


def test_the_line_fit_recovers_a_straight_line():
    line = record.line(STEPS, "eager")
    assert line["constant_s"] == pytest.approx(0.0, abs=1e-9)
    assert line["s_a_token"] == pytest.approx(0.25) and line["r2"] == pytest.approx(1.0)
    assert record.line(STEPS, "trl") is None


def test_the_command_times_the_loop_and_writes_its_results(tmp_path):
    peer = ["peer=trl"] if importlib.util.find_spec("trl") else []
    done = esr(
        "bench", "lengths=[4,8,full]", "engines=[eager]", "repeats=2", "warmup=1", *peer,
        "prompts_per_step=4", "pair.max_response_tokens=12", "out=found", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found" / "bench.json").read_text())
    rows = [row for row in found["rows"] if row["arm"] == "eager" and row["phase"] == "step"]
    assert [row["length"] for row in rows] == ["4", "8", "full"]
    assert all(len(row["all"]) == 2 and 0 < row["floor"] < row["seconds"] for row in rows)
    assert {row["process"] for row in found["memory"]} == {"trainer", "engine", "teacher"}
    assert (tmp_path / "found" / "bench.png").is_file()
    # The table of the pages is made of the same file.
    made = runpy.run_path(str(ROOT / "scripts/summarize_bench.py"))["tables"](found)
    assert "| eager | full | " in made[0] and "| eager | 4 | teacher | " in made[1]
    assert found["command"].startswith("esr bench 'rollout_lens=[4,8,full]' ")
    if peer:
        # The same loss for the same completions, and a ratio per length.
        assert found["loss"]["relative"] < 1e-5
        for key in ("ratio_to_trl", "score_train_ratio_to_trl"):
            assert set(found[key]["eager"]) == {"4", "8", "full"}


def test_in_turns_and_with_given_prompts_the_same_rows_are_written(tmp_path):
    peer = ["peer=trl"] if importlib.util.find_spec("trl") else []
    done = esr(
        "bench", "lengths=[4]", "engines=[eager]", "repeats=1", "warmup=0", *peer, "in_turns=true",
        "prompts_per_step=2", "rollouts_per_prompt=3", "prompt_tokens=70", "execution=inline",
        "out=found", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found" / "bench.json").read_text())
    assert found["responses"] == 6 and found["prompt_tokens"] == 70
    phases = {row["phase"] for row in found["rows"] if row["arm"] == "eager"}
    assert phases == set(record.PHASES)
    assert "6 responses, 3 to each prompt, after 70 tokens per step" in done.stdout
    if peer:
        assert found["in_turns"] and "GiB of free memory: one arm after the other" in done.stdout
        # The peer gets each prompt three times, so that it samples as many responses.
        assert {row["arm"]: row["longest"] for row in found["work"]}.keys() == {"eager", "trl"}
        assert [row["tokens"] for row in found["work"]] == [6 * 4, 6 * 4]
        assert found["loss"]["relative"] < 1e-5
        assert set(found["ratio_to_trl"]["eager"]) == {"4"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lengths=[0]", "lengths=0: give a positive number"),
        ("lengths=[auto]", "lengths=auto: give a number of tokens, or full"),
        ("engines=[sglang]", "engines=sglang: choose one of eager, vllm"),
        ("peer=verl", "peer=verl: choose one of trl"),
        ("lengths=[9999]", "lengths=9999: stay below pair.context_tokens"),
        ("prompt_tokens=0", "prompt_tokens=0: give 1 to 240, which lengths=16 leaves of"),
        ("prompt_tokens=129", "prompt_tokens=129: give 1 to 56, which lengths=200 leaves of"),
    ],
)
def test_invalid_settings_give_one_error_line(override, message, tmp_path):
    done = esr("bench", override, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )


@pytest.mark.parametrize("place", ["start", "loss", "step"])
def test_a_failing_peer_is_left_out_and_our_results_are_written(
    place, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("trl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAILS_IN", place)
    monkeypatch.setattr(arms, "Trl", FailingPeer)
    overrides = [
        "peer=trl", "engines=[eager]", "rollout_lens=[4]", "repeats=1", "warmup=0",
        "run_dir=found", "prompts_per_step=2", "execution=inline",
    ]  # fmt: skip
    with pytest.raises(WorkerError, match="trl failed and is left out"):
        bench.run(read(*overrides, command="bench", schema=BenchConfig), overrides)
    assert (tmp_path / "made").read_text() == "made\n", "it was constructed again to be closed"
    line = f"continuing without trl: the trl failed in {place}: MemoryError: the card is full"
    assert line in capsys.readouterr().out
    assert "MemoryError" in (tmp_path / "found" / "logs" / "trl.log").read_text()
    found = json.loads((tmp_path / "found" / "bench.json").read_text())
    assert {row["arm"] for row in found["rows"]} == {"eager"} and found["ratio_to_trl"] == {}


def test_a_failure_of_our_own_loop_ends_the_bench(tmp_path, monkeypatch):
    monkeypatch.setenv("FAILS_IN", "step")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(arms, "Ours", FailingEngine)
    overrides = ["engines=[eager]", "rollout_lens=[4]", "run_dir=found"]
    with pytest.raises(WorkerError, match="the card is full"):
        bench.run(read(*overrides, command="bench", schema=BenchConfig), overrides)
    assert not (tmp_path / "found" / "bench.json").exists()


def test_a_loss_that_the_peer_does_not_support_is_refused(tmp_path):
    pytest.importorskip("trl")
    done = esr("bench", "peer=trl", "loss=forward_kl", cwd=tmp_path)
    assert done.returncode == 2 and "loss.divergence=forward_kl: TRL supports only" in done.stderr


def test_settings_that_a_bench_does_not_use_are_not_in_the_name_of_its_folder():
    given = ["+rollout_len=8", "steps=3", "watch.every=2"]
    config = read(*given, command="bench", schema=BenchConfig)
    assert bench._folder(config, [*given, "seed=1"]).name == "bench-seed=1"
