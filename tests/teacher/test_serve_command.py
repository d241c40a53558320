"""`esr teacher serve`: what it starts, and the line that it prints."""

from __future__ import annotations

import shlex
import socket

import pytest
from conftest import esr, read

from esr_cli.base.files import conf_dir
from esr_cli.config import ConfigError, TeacherServeConfig
from esr_cli.teacher import command

PAIRS = sorted(path.stem for path in (conf_dir() / "pair").glob("*.yaml"))
OWN = ["pair.student.path=some/student", "pair.teacher.path=some/teacher"]


def serving(*overrides):
    return read(*overrides, command="teacher", schema=TeacherServeConfig)


@pytest.mark.parametrize("pair", PAIRS)
def test_every_pair_can_be_served(pair):
    given = [f"pair={pair}", *(OWN if pair == "own" else [])]
    assert serving(*given).pair.teacher.path


def test_the_server_returns_states_and_its_command_holds_no_key(monkeypatch):
    monkeypatch.setenv("ESR_TEACHER_KEY", "open sesame")
    config = serving("pair=qwen25math_1p5b__qwen3_8b", "tensor_parallel=4", "quantization=fp8")
    given = command.command(config)
    for option in (
        "--model=Qwen/Qwen3-8B", "--served-model-name=Qwen/Qwen3-8B", "--runner=pooling",
        '--pooler-config={"task": "token_embed", "use_activation": false}',
        "--max-model-len=4096", "--tensor-parallel-size=4", "--quantization=fp8",
        "--no-enable-prefix-caching", "--no-enable-chunked-prefill",
        "--middleware=esr_cli.teacher.guard.Guard",
    ):  # fmt: skip
        assert option in given, given
    assert "open sesame" not in " ".join(given)
    assert command.environment()["VLLM_API_KEY"] == "open sesame"
    monkeypatch.delenv("ESR_TEACHER_KEY")
    assert not any("middleware" in each for each in command.command(config))
    assert "VLLM_API_KEY" not in command.environment()


def test_the_line_survives_a_shell():
    told = 'pair.teacher.system="The answer  is {reference}."'
    line = command.line(serving("host=::1", "port=81"), ["pair=lab", told, "port=81", "host=::1"])
    assert shlex.split(line) == [
        "esr", "train", "pair=lab", told, "teacher=server", "teacher.urls=[http://[::1]:81]"
    ]  # fmt: skip


def test_what_cannot_be_served_is_refused_with_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"host=127.0.0.1 port={port}: cannot listen there"):
            command.need_free("127.0.0.1", port)
    for arguments, said in (
        (["teacher"], "esr teacher: say what it shall do; esr teacher serve pair=NAME"),
        (["teacher", "serve", "port=0"], "port=0: give a port from 1 to 65535"),
        (
            ["teacher", "serve", "pair.weights=random"],
            "pair.weights=random: a server needs a model",
        ),
        (["teacher", "serve", "max_model_len=8"], "max_model_len=8: give 16 or more"),
    ):
        done = esr(*arguments, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
