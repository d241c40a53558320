"""Fixtures that several rooms share: a tiny pair, and the command line as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from esr_cli.config import LabConfig
from esr_cli.models.lab import lab_model, lab_tokenizer


def pytest_collection_modifyitems(items):
    """GPU tests skip where there is no CUDA."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA here"))


@pytest.fixture(scope="session")
def tiny_pair(tmp_path_factory) -> Path:
    """Untrained student and teacher of the lab's kind, two layers of width 64."""
    folder = tmp_path_factory.mktemp("pair")
    tokenizer = lab_tokenizer()
    shape = LabConfig(width=64, layers=2, heads=2, mlp=128)
    for seed, role in enumerate(("student", "teacher")):
        lab_model(shape, len(tokenizer), seed).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return folder


def esr(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Runs `esr ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "esr_cli.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)
