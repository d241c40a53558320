"""Hostile responses against the real sandbox."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest
from conftest import open_folders
from hostile_code import HOSTILE

from esr_cli.graders import sandbox, seccomp, watch
from esr_cli.graders.code import CodeGrader
from esr_cli.graders.sandbox import Sandbox
from esr_cli.types import CodeReference

needs_bubblewrap = pytest.mark.skipif(
    shutil.which("bwrap") is None, reason="bubblewrap is not installed"
)
RIGHT = "def f(x):\n    return 2 * x + 1\n"
REFERENCE = CodeReference("humaneval", "def f(x):\n", "f", RIGHT, ((3,), (5,), (7,)), 3, 0.0)
FLOATS = CodeReference(
    "humaneval", "def g(x):\n", "g", "def g(x):\n    return x / 7\n", ((3,), (5,)), 2, 0.0
)


def processes_with(mark: str) -> list[int]:
    """Processes with the mark in their command line, after a grace period for dying ones."""
    for _ in range(50):
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        if not found:
            return []
        time.sleep(0.1)
    return found


def leftovers() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("esr-sandbox-*")}


@pytest.fixture(scope="module")
def marked():
    """A grader whose processes are identifiable by a mark."""
    grader = CodeGrader(workers=2)
    mark = f"mark-{uuid.uuid4()}"
    grader._source += f"\n# {mark}\n"
    assert grader.grade([(RIGHT, REFERENCE)])[0].correct
    yield grader, mark
    grader.close()


@needs_bubblewrap
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_response_fails_and_leaves_nothing(name, marked, monkeypatch):
    monkeypatch.setenv("ESR_TEST_SECRET", "hidden word")
    grader, mark = marked
    code, reason = HOSTILE[name]
    files = leftovers()
    (grade,) = grader.grade([(f"```python\n{code}\n```", REFERENCE)])
    assert not grade.correct
    assert grade.reason.startswith(reason), grade.reason
    assert processes_with(mark) == []
    assert leftovers() == files


@needs_bubblewrap
def test_a_float_subclass_cannot_fake_equality(marked):
    lie = "class E(float):\n    __eq__ = lambda a, b: True\ndef g(x): return E(0.5)\n"
    numbers = "def g(x): return float('nan')\n"
    grades = marked[0].grade([(lie, FLOATS), (numbers, FLOATS), (FLOATS.canonical, FLOATS)])
    assert [grade.correct for grade in grades] == [False, False, True]


@needs_bubblewrap
def test_no_connection_reaches_a_listener_outside(marked):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code = (
            f"import socket\ndef f(x):\n    socket.create_connection(('127.0.0.1', {port}), 2)\n"
            "    return 2 * x + 1\n"
        )
        (grade,) = marked[0].grade([(code, REFERENCE)])
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert not grade.correct and "Error" in grade.reason


@needs_bubblewrap
@pytest.mark.parametrize(
    "attack",
    [
        "while True:\n    try: os.fork()\n    except OSError: pass",
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)\nos._exit(0)",
        "os.fork()\nos.kill(-1, 9)\ntime.sleep(60)",
    ],
    ids=["fork bomb", "daemon", "kill -1"],
)
def test_processes_end_with_the_run_without_the_filter_too(attack, monkeypatch):
    monkeypatch.setattr(seccomp, "program", lambda: None)
    monkeypatch.setattr(watch, "WALL_FACTOR", 2)
    mark = f"mark-{uuid.uuid4()}"
    outcome = Sandbox().run(
        f"import os, time\nos.write(1, b'started')\n{attack}\n# {mark}",
        b"", cpu_s=1.0, silence_s=1.0, output_bytes=1000,
    )  # fmt: skip
    assert outcome.output == b"started"
    assert processes_with(mark) == []


@needs_bubblewrap
def test_the_number_of_processes_is_bounded_without_the_filter_too(monkeypatch):
    monkeypatch.setattr(seccomp, "program", lambda: None)
    count = (
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(9)\n"
    )
    count += "        n += 1\nexcept OSError: print(n)"
    outcome = Sandbox().run(count, b"", cpu_s=5, silence_s=5, output_bytes=99)
    assert 0 < int(outcome.output) <= sandbox.PROCESSES


@needs_bubblewrap
def test_the_parent_stops_reading_at_the_bound_and_at_the_deadline(monkeypatch):
    monkeypatch.setattr(watch, "WALL_FACTOR", 1)
    run = Sandbox().run
    flood = run("while True: print('x' * 999)", b"", cpu_s=9, silence_s=9, output_bytes=5000)
    assert (flood.end, len(flood.output)) == ("output", 5000)
    quiet = run("import time; time.sleep(9)", b"", cpu_s=9, silence_s=0.5, output_bytes=9)
    assert quiet.end == "silence"
    drip = "import time\nwhile True: print(1, flush=True); time.sleep(0.1)"
    assert run(drip, b"", cpu_s=2, silence_s=1.5, output_bytes=999).end == "time"


@needs_bubblewrap
def test_a_program_is_stopped_by_the_cpu_time_of_all_its_processes(monkeypatch):
    run, options = Sandbox().run, {"silence_s": 60, "output_bytes": 9}
    assert run("while True: pass", b"", cpu_s=0.5, **options).end == "time"
    idle = run("import time; time.sleep(1.5); print(1)", b"", cpu_s=0.5, **options)
    assert (idle.end, idle.output) == ("exit", b"1\n")
    monkeypatch.setattr(seccomp, "program", lambda: None)
    # The busy child is not of the process group of its parent.
    fork = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    while True: pass\n"
    assert run(fork + "time.sleep(60)", b"", cpu_s=0.5, **options).end == "time"


@needs_bubblewrap
def test_stop_kills_the_current_runs():
    box, ended = Sandbox(), []
    options = {"cpu_s": 60, "silence_s": 60, "output_bytes": 9}
    thread = threading.Thread(
        target=lambda: ended.append(box.run("import time; time.sleep(60)", b"", **options))
    )
    thread.start()
    while not box._running:
        time.sleep(0.01)
    box.stop()
    thread.join(5)
    assert ended and ended[0].end == "exit"


@needs_bubblewrap
def test_inside_it_is_another_user_with_a_fixed_environment_and_numpy():
    code = "import os, json, numpy\n"
    code += "print(json.dumps([os.getuid(), sorted(os.environ), os.listdir('/')]))"
    outcome = Sandbox(slots=2).run(code, b"", cpu_s=20, silence_s=20, output_bytes=9999)
    user, names, folders = json.loads(outcome.output)
    assert user == (sandbox.FIRST_USER if os.geteuid() == 0 else os.geteuid())
    assert set(names) <= {*sandbox.ENVIRONMENT, *sandbox.INSIDE, "PWD", "LC_CTYPE"}
    assert not {"root", "home", "tmp", "proc", "work", "sys", "run", "var"} & set(folders)


@pytest.mark.parametrize("kind", [pytest.param("bubblewrap", marks=needs_bubblewrap), "none"])
def test_a_killed_grader_leaves_nothing_in_the_temporary_folder(kind, tmp_path):
    tmp_path.chmod(0o755)
    mark = f"mark-{uuid.uuid4()}"
    code = (
        "import sys; from esr_cli.graders.sandbox import Sandbox\n"
        "options = {'cpu_s': 9, 'silence_s': 9, 'output_bytes': 9}\n"
        f"box = Sandbox('{kind}'); print(box.run('print(1)', b'', **options).output, flush=True)\n"
        f"box.run('import time; time.sleep(3) # {mark}', b'', **options)"
    )
    command, environment = [sys.executable, "-c", code], {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"b'1\\n'\n"
        time.sleep(0.3)
        process.kill()
    assert {path.name for path in tmp_path.iterdir()} <= {"esr-cache"}
    assert processes_with(mark) == []


def test_a_missing_bubblewrap_is_reported_with_the_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install bubblewrap" in (sandbox.check() or "")
    with pytest.raises(RuntimeError, match="apt-get install bubblewrap"):
        CodeGrader()
    assert "choose one of bubblewrap, none" in (sandbox.check("docker") or "")


def test_a_bubblewrap_without_permission_is_reported(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    open_folders(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    problem = sandbox.check() or ""
    assert "No permissions" in problem and "sandbox=none" in problem


def test_without_a_sandbox_the_limits_hold_after_a_warning():
    files = leftovers()
    with pytest.warns(UserWarning, match="unprotected, with your permissions"):
        grader = CodeGrader("none", workers=1)
    loop = HOSTILE["endless loop, signals ignored"][0]
    big = HOSTILE["50 GB"][0]
    grades = grader.grade([(RIGHT, REFERENCE), (loop, REFERENCE), (big, REFERENCE)])
    grader.close()
    assert [grade.reason for grade in grades] == [
        "passed", "timed out on call 1", "out of memory on call 1",
    ]  # fmt: skip
    assert leftovers() == files


def test_the_filter_is_made_for_known_machines_only():
    assert seccomp.program("riscv64") is None
    for machine in seccomp.MACHINES:
        rules = seccomp.program(machine)
        assert rules and len(rules) % 8 == 0 and len(rules) < 4096
