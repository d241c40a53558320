"""`esr check`: its report on a good pair and on each kind of bad one."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import INLINE, ROOT, esr, read

from esr_cli.assembly import objective, templates
from esr_cli.check import limits, machine, tuning
from esr_cli.config import ConfigError, ModelConfig, TuneConfig
from esr_cli.config.finding import Finding, refuse
from esr_cli.models import loading, outlines
from esr_cli.models.loading import load_tokenizer


def check(*arguments, cwd):
    done = esr("check", "rollout=eager", *arguments, cwd=cwd)
    return done.returncode, " ".join(done.stdout.split()), done.stderr.strip()


def test_a_good_pair(tmp_path):
    code, out, err = check("+rollout_len=32", cwd=tmp_path)
    assert code == 0 and not err, err
    for part in (
        "the same ids; 100.0%",
        "rollouts stop at <eos>",
        "prompts of 58",
        "N=32 of at most 128 response tokens (25%)",
        "full fine-tuning: 0.3 of 0.3 million parameters train",
        "prompts task lab: chat; lab: chat",
        "0.0002, linear to 0 over 40 steps (the last: 5e-06), after 5 steps of warm-up",
        "the first prompt as the teacher reads it <bos> Q : start",
        "trainer on cpu; 1 engine (eager), process, on cpu; 1 teacher (local), process, on cpu",
        "esr train would start",
    ):
        assert part in out, (part, out)
    assert "error" not in out and "warning" not in out
    assert list(tmp_path.iterdir()) == [], "esr check must leave no files"


def broken_row(tmp_path):
    rows = ['{"prompt": "a b"}', '{"prompt": "c"}', '{"prompt": 3', '{"prompt": "d"}']
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    return ["task=jsonl", "task.files=[rows.jsonl]"]


def endless(tmp_path):
    text = "{% for m in messages %}<bos> {{ m.content }}{% endfor %}"
    (tmp_path / "endless.jinja").write_text(text)
    return ["pair.student.chat_template=endless.jinja"]


def huge(_):
    shape = {"model_type": "qwen3", "hidden_size": 16384, "num_hidden_layers": 200}
    both = [(role, key) for role in ("student", "teacher") for key in shape]
    shapes = [f"+pair.{role}.shape.{key}={shape[key]}" for role, key in both]
    return ["pair.weights=random", *shapes]


BAD = {
    "other tokenizer family": (None, ["pair.alignment=auto: the tokenizers differ", "=text"]),
    "no end of text": (endless, ["closes an answer with nothing", "pair.stop_tokens"]),
    "prompts beyond the context": (
        lambda _: [
            "pair.context_tokens=60",
            "+rollout_len=16",
            "pair.max_response_tokens=30",
            "benchmark.lab.max_tokens=2",
        ],
        ["pair.context_tokens=60: prompts of 58 tokens leave no room for 30", "lower rollout_len"],
    ),
    "N beyond the context": (
        lambda _: ["+rollout_len=300"],
        ["rollout_len=300: stay below pair.context_tokens=256"],
    ),
    "an unknown LoRA target": (
        lambda _: ["tune=lab_lora", "tune.targets=[q_proj,query]"],
        ["tune.targets=[q_proj,query]: no layer of the student is called query", "v_proj"],
    ),
    "too large": (huge, ["weights and optimizer take", "smaller models"]),
    "a broken row": (broken_row, ["rows.jsonl:3: broken row"]),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", ["check", "train"])
def test_an_error_is_reported_with_its_remedy_and_train_refuses_it(
    name, command, tmp_path, bytes_teacher
):
    make, parts = BAD[name]
    arguments = make(tmp_path) if make else [f"pair.teacher.path={bytes_teacher}"]
    done = esr(command, *INLINE, *arguments, cwd=tmp_path)
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, output
    for part in parts:
        assert part in output, (part, output)
    if command == "train":
        assert done.stderr.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_a_dry_run_says_who_computes_where_and_writes_nothing(tmp_path):
    done = esr("train", "+rollout_len=16", "dry_run=true", "rollout=eager", "teacher=vllm",
               "execution.rollouts=2", "run_dir=run", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "2 engines (eager), process, on cpu with" in told and "1 teacher (vllm)" in told
    assert "esr train would start" in told and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("settings", "said"), [
    (["rollout.staleness=4", "save_every=10", "eval_every=3"],
     "with eval_every=3 no rollout lags more than 2"),
    (["rollout.staleness=2", "save_every=1"], "with save_every=1 no rollout lags more than 0"),
    (["rollout.staleness=2", "save_every=3"], ""), (["save_every=1"], ""),
])  # fmt: skip
def test_a_lag_that_cannot_be_reached_is_a_warning(settings, said):
    found = limits.staleness(read("+rollout_len=8", *settings))
    assert [each.status for each in found] == ["warning"] * bool(said)
    assert said in "".join(each.text for each in found)


def test_errors_are_counted(tmp_path):
    code, out, err = check(
        *endless(tmp_path), "tune=lab_lora", "tune.targets=[query]", cwd=tmp_path
    )
    assert code == 2 and err == "esr: 2 errors; esr train would refuse this", (out, err)


def test_a_closed_pipe_is_not_reported_as_an_error(tmp_path):
    command = f"{sys.executable} -u -m esr_cli.cli check rollout=eager 2>err | head -n 2"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "…\nok" in done.stdout and (tmp_path / "err").read_text() == ""


def test_different_tokenizers_are_reported_with_their_classes(tmp_path, bytes_teacher):
    code, out, _ = check(f"pair.teacher.path={bytes_teacher}", "pair.alignment=text", cwd=tmp_path)
    assert code == 0 and "fall into" in out and "the teacher retokenizes the text" in out, out


def test_refuse_raises_the_first_error_with_its_remedy():
    fine = Finding("warning", "a", "b")
    refuse([fine])
    with pytest.raises(ConfigError, match="x=1: wrong; do y"):
        refuse([fine, Finding("error", "t", "x=1: wrong", "do y"), Finding("error", "t", "z")])


def test_wandb_online_without_a_key_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    config = read("tracking.mode=online")
    assert machine.wandb(config)[0].status == "warning"
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert machine.wandb(config)[0].status == "ok"
    assert machine.wandb(read())[0].status == "ok"


def test_a_missing_device_is_an_error():
    missing = f"cuda:{torch.cuda.device_count()}"
    [found] = machine.devices(read(f"execution.teacher_device={missing}"))
    assert found.status == "error" and f"execution.teacher_device={missing}" in found.said
    assert machine.devices(read("execution.device=cpu")) == []
    with pytest.raises(ConfigError, match="give auto, cpu, cuda"):
        read("execution.device=gpu")


def test_what_tuning_does_is_reported():
    known = outlines.skeleton(ModelConfig(path="esr:student"))
    lora = read("tune=lab_lora", "tune.dropout=0.05").tune
    [found] = tuning.targets(known, lora)
    assert "; dropout 0.05 on the adapters' inputs" in found.text and found.status == "ok"
    given = ["tune.master=none", "tune.learning_rate=5e-6"]
    [found] = tuning.precision(read(*given, "pair.dtype=bfloat16"))
    # From 2^-9 on bf16 numbers lie 2^-16 apart; 5e-6 is less than half of that.
    assert found.status == "warning" and "a step of 5e-06 is lost in weights above 0.002" in (
        found.text
    )
    [found] = tuning.precision(read(*given, "pair.dtype=float32"))
    assert found.status == "ok" and "changes nothing" in found.text
    assert tuning.precision(read("pair.dtype=bfloat16")) == []


def test_the_dtype_is_reported_with_its_reason():
    """The lab pair is in fp32 on every machine."""
    assert machine.dtype(read()).text == "float32: pair.dtype=float32"
    found = machine.dtype(read("pair.dtype=auto", "execution.device=cpu")).text
    has = loading.cpu_instructions()
    assert found.startswith("bfloat16" if "AMX" in has else "float32")
    assert not has or has[0] in found


@pytest.mark.parametrize(
    ("settings", "steps", "status", "text"),
    [
        ({"learning_rate": 5e-5}, 200, "ok", "5e-05, constant"),
        (
            {"schedule": "cosine", "warmup_share": 0.1, "learning_rate": 1e-3}, 100, "ok",
            "0.001, cosine to 0 over 100 steps (the last: 3e-07), after 10 steps of warm-up",
        ),
        ({"warmup_steps": 9}, 8, "warning", "5e-05, constant, after 9 steps of warm-up: never"),
    ],
)  # fmt: skip
def test_the_learning_rate_is_reported(settings, steps, status, text):
    [found] = tuning.rates(TuneConfig(**settings), steps)
    assert found.status == status and found.text.startswith(text), found


def test_compiling_needs_a_compiler_and_the_layers_of_transformers(monkeypatch):
    tune, known = TuneConfig(compile=True), outlines.skeleton(ModelConfig(path="esr:student"))
    own_code = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert not tuning.compiling({"student": known}, tune)
    [found] = tuning.compiling({"student": known, "teacher": own_code}, tune)
    assert found.status == "error" and "the teacher's layers" in found.said
    monkeypatch.setenv("CXX", "no-such-compiler")
    [found] = tuning.compiling({"student": known}, tune)
    assert found.status == "error" and "there is no no-such-compiler" in found.said
    assert not tuning.compiling({"student": known}, replace(tune, compile=False))


def test_too_little_disk_space_is_an_error(tmp_path):
    config = read(f"run_dir={tmp_path}/run")
    assert machine.disk(config, 1e-3, 1e-3)[0].status == "ok"
    [found] = machine.disk(config, 1e9, 1e9)
    assert found.status == "error" and math.isfinite(len(found.said))


def test_a_base_model_without_a_template_is_a_warning():
    tokenizer = load_tokenizer("esr:student")
    tokenizer.chat_template = None
    found = templates.ends("student", "pair.student", ModelConfig(), tokenizer, (2,), "")
    assert found.status == "warning"


def test_a_template_that_writes_today_s_date_is_a_warning():
    tokenizer = load_tokenizer("esr:student")
    assert templates.dated("student", "pair.student", tokenizer) == []
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    [found] = templates.dated("student", "pair.student", tokenizer)
    assert found.status == "warning" and "pair.student.chat_template" in found.remedy


def test_a_folder_in_use_and_a_resumed_run_are_refused(unbroken, tmp_path):
    code, out, err = check(f"run_dir={unbroken}", cwd=tmp_path)
    assert code == 2 and "holds a complete run" in out, out
    code, _, err = check(f"resume={unbroken}", cwd=tmp_path)
    assert code == 2 and "only checks new runs" in err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["loss=top_reverse_kl", "+rollout_len=100"], "warning"),
        (["loss=top_reverse_kl", "+rollout_len=full"], "ok"),
        (["loss=last_tokens", "loss.keep_tokens=32", "+rollout_len=full"], "ok"),
        (["loss=middle_tokens", "loss.keep_tokens=64", "+rollout_len=64"], "warning"),
        (["loss=window", "loss.window_end=16", "+rollout_len=64"], "ok"),
        (["loss=window", "loss.window_start=64", "loss.window_end=70", "+rollout_len=64"], "error"),
        (["loss=random_tokens", "loss.keep_tokens=32", "lengths=mixture", "+rollout_len=16"], "ok"),
    ],
)
def test_the_number_of_selected_positions_is_reported(arguments, status):
    config = read(*arguments)
    [found] = limits.positions(config, objective.lengths_of(config).longest)
    assert found.status == status, found


def test_checking_random_weights_generates_none(tmp_path):
    keys = {"model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 108}
    both = [f"+pair.{r}.shape.{k}={v}" for r in ("student", "teacher") for k, v in keys.items()]
    done = esr(
        "check", "rollout=eager", "pair.weights=random", *both,
        cwd=tmp_path, env={"ESR_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    left = list((tmp_path / "cache").rglob("*"))
    assert left and not [path for path in left if path.suffix == ".safetensors"]
