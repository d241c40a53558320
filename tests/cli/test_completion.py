"""Completion at TAB in real bash and zsh shells."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT, esr

from esr_cli.base.files import conf_dir
from esr_cli.cli import completion, known
from esr_cli.cli.main import COMMANDS

SCHEMAS = {name: each[0] for name, each in COMMANDS.items()}
START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
READY = {
    "bash": 'eval "$(esr completion bash)"',
    "zsh": 'autoload -Uz compinit && compinit -u -D; eval "$(esr completion zsh)"',
}


class Shell:
    """An interactive shell on a pseudo-terminal, with `esr` on its path."""

    def __init__(self, name, folder):
        self.name, command = name, folder / "bin" / "esr"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m esr_cli.cli "$@"\n')
        command.chmod(0o755)
        path = f"{command.parent}:{os.environ['PATH']}"
        env = {"PATH": path, "PYTHONPATH": str(ROOT), "PS1": "> ", "TERM": "dumb",
               "HOME": str(folder)}  # fmt: skip
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            START[name], stdin=slave, stdout=slave, stderr=slave, env=env, cwd=folder,
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.type(f"{READY[name]}; echo rea''dy\n")
        self.until("ready")

    def type(self, text):
        os.write(self.master, text.encode())

    def until(self, wanted, seconds=60):
        """Reads the output up to `wanted` and returns it."""
        output, end = "", time.monotonic() + seconds
        while wanted not in output:
            assert time.monotonic() < end, f"no {wanted!r} in {output!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                output += os.read(self.master, 4096).decode(errors="replace")
        return output


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(request, tmp_path_factory):
    if not shutil.which(request.param):
        pytest.skip(f"no {request.param} here")
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "runs" / "a_run").mkdir(parents=True)
    for name in ("settings.yaml", "runs/sums.yml", "settings.txt"):
        (folder / name).touch()
    one = Shell(request.param, folder)
    yield one
    one.process.kill()
    one.process.wait()


@pytest.mark.parametrize(("typed", "completed"), [
    ("esr repr", "esr reproduce"),
    ("esr train loss.kee", "esr train loss.keep_tokens="),
    ("esr train loss=conf", "esr train loss=confident"),
    ("esr train loss=reverse_kl,conf", "esr train loss=reverse_kl,confident"),
    ("esr probe probe=[decay,prof", "esr probe probe=[decay,profile"),
    ("esr train +rollout_len=ful", "esr train +rollout_len=full"),
    ("esr report runs=runs/a_", "esr report runs=runs/a_run/"),
    ("esr train config=set", "esr train config=settings.yaml"),
    ("esr eval benchmark=set", "esr eval benchmark=settings.yaml"),
    ("esr train benchmark=[lab,runs/s", "esr train benchmark=[lab,runs/sums.yml"),
    ("esr init tune.weig", "esr init tune.weight_decay="),
])  # fmt: skip
def test_tab_completes_the_word(shell, typed, completed):
    if shell.name == "zsh":  # zsh treats an unquoted bracket as a pattern
        typed, completed = (re.sub(r" (\w+=\[)", r" '\1", text) for text in (typed, completed))
    shell.type(typed + "\t")
    rest = completed.removeprefix(typed)
    shell.until(rest)
    # Ctrl-U discards the line.
    shell.type("\x15echo d''one\n")
    shell.until("done")


def test_every_config_group_belongs_to_a_command():
    found = {name for command in SCHEMAS for name in known.groups(command)}
    # lm is used by pairs, experiment holds data.
    assert {each.name for each in conf_dir().iterdir() if each.is_dir()} - found == {
        "lm", "experiment",
    }  # fmt: skip


def test_completions_are_valid_values():
    offered = completion.words("train", "loss=", 2, SCHEMAS)
    assert len(offered) == len(list((conf_dir() / "loss").glob("*.yaml")))
    assert completion.words("train", "steps=", 2, SCHEMAS) == []
    assert "strict=true" in completion.words("train", "strict=", 2, SCHEMAS)
    assert completion.words("nonsense", "x", 2, SCHEMAS) == []


def test_files_of_settings_are_offered_where_one_may_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("my.yaml", "runs/other.yml", "my.txt"):
        (tmp_path / name).touch()

    def offered(command, current):
        return completion.words(command, current, 2, SCHEMAS)

    assert offered("train", "config=") == ["config=my.yaml", "config=runs/"]
    assert offered("check", "config=ru") == ["config=runs/"]
    assert offered("train", "config=runs/") == ["config=runs/other.yml"]
    benchmarks = [path.stem for path in sorted((conf_dir() / "benchmark").glob("*.yaml"))]
    assert offered("eval", "benchmark=") == [
        f"benchmark={each}" for each in (*benchmarks, "my.yaml")
    ]
    assert offered("train", "benchmark=[lab,runs/") == ["benchmark=[lab,runs/other.yml"]
    assert offered("init", "fi") == ["file="] and offered("train", "fi") == []
    assert "config=" in offered("report", "") and "config=" not in offered("init", "")
    assert "-m" not in offered("init", "-") and offered("init", "pair=la") == ["pair=lab"]


def test_an_unsupported_shell_is_a_one_line_error():
    done = esr("completion", "fish")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "bash or zsh" in done.stderr
