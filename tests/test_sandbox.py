"""Hostile responses against the real sandbox: each would be right if its attack came through."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest

from esr_cli.graders import sandbox, seccomp
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
CHEAT = """
class Cheat({base}):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return hash(7)
    def __int__(self): return 2 * X + 1
    __index__ = __int__
    def __repr__(self): return str(2 * X + 1)
    def __reduce__(self): return (int, (2 * X + 1,))
    def __len__(self): return 1
    def __iter__(self): return iter([2 * X + 1])
    __class__ = {lie}
def f(x):
    global X
    X = x
    return Cheat()
"""

# name: the response, and how its verdict begins
HOSTILE = {
    "endless loop, signals ignored": (
        "import signal\ndef f(x):\n    for s in range(1, 65):\n"
        "        try: signal.signal(s, signal.SIG_IGN)\n        except Exception: pass\n"
        "    while True: pass\n",
        "timed out on call 1",
    ),
    "endless loop that swallows everything": (
        "def f(x):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass\n",
        "timed out on call 1",
    ),
    "endless loop at load": ("while True: pass\ndef f(x): return 2 * x + 1\n", "timed out"),
    "fork bomb": ("import os\ndef f(x):\n    while True: os.fork()\n", "PermissionError"),
    "thread bomb": (
        "import threading, time\ndef f(x):\n"
        "    while True: threading.Thread(target=time.sleep, args=(9,)).start()\n",
        "RuntimeError on call 1",
    ),
    "50 GB": ("def f(x):\n    return len(bytearray(50 * 10**9)) and 2 * x + 1\n", "out of memory"),
    "memory by and by": ("def f(x):\n    a = []\n    while True: a.append(bytearray(10**8))", ""),
    "a power tower": ("def f(x):\n    return 10**10**9 and 2 * x + 1\n", ""),
    "a gigabyte printed": (
        "import sys\ndef f(x):\n    for _ in range(1024): print('x' * 2**20)\n"
        "    sys.stdout.flush()\n",
        "",
    ),
    "a gigabyte returned": ("def f(x):\n    return 'x' * (3 * 10**8)\n", "too much output"),
    "floods every descriptor": (
        "import os\ndef f(x):\n    while True:\n        for d in range(64):\n"
        "            try: os.write(d, b'[' * 65536)\n            except OSError: pass\n",
        "",
    ),
    "writes a right-looking line to every descriptor": (
        "import os\nfor d in range(64):\n"
        "    try: os.write(d, b'0123456789abcdef [\"ok\",0.0,\"builtins.int\",7]\\n' * 3)\n"
        "    except OSError: pass\ndef f(x): return 2 * x + 1\n",
        "malformed output",
    ),
    "sys.exit": ("import sys\ndef f(x): sys.exit(0)\n", "exits on call 1"),
    "sys.exit at load": ("import sys\nsys.exit(0)\ndef f(x): return 2 * x + 1\n", "exits"),
    "os._exit": ("import os\ndef f(x): os._exit(0)\n", "exits on call 1"),
    "os._exit at the second call": (
        "import os\ndef f(x):\n    if x == 5: os._exit(0)\n    return 2 * x + 1\n",
        "exits on call 2",
    ),
    "atexit": (
        "import atexit, os, sys\n@atexit.register\ndef late():\n    os.write(3, b'passed')\n"
        "def f(x): raise KeyboardInterrupt\n",
        "KeyboardInterrupt on call 1",
    ),
    "deep recursion": ("def f(x): return f(x)\n", "RecursionError on call 1"),
    "deeper recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\nclass A:\n    def __getattr__(self, n):\n"
        "        return getattr(self, n + 'a')\ndef f(x): return A().a\n",
        "",
    ),
    "nested beyond the compiler": ("def f(x): return " + "(" * 9999 + "x" + ")" * 9999, "Syntax"),
    "kill -1": (
        "import os, signal\ndef f(x):\n    os.kill(-1, signal.SIGKILL)\n    return 2 * x + 2\n",
        "",
    ),
    "kills its parent": ("import os\ndef f(x):\n    os.kill(os.getppid(), 9)\n    return 0\n", ""),
    "equal to everything": (CHEAT.format(base="object", lie="int"), "wrong output on call 1"),
    "an int with methods that cheat": (CHEAT.format(base="int", lie="int"), "wrong output"),
    "a list with methods that cheat": (CHEAT.format(base="list", lie="list"), "wrong output"),
    "a string with methods that cheat": (CHEAT.format(base="str", lie="int"), "wrong output"),
    "a dict with methods that cheat": (CHEAT.format(base="dict", lie="dict"), "wrong output"),
    "walks the frames": (
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for name, value in list(frame.f_locals.items()):\n"
        "            if 'expect' in name or 'canonical' in name: return value[0]\n"
        "        frame = frame.f_back\n",
        "wrong output on call 1",
    ),
    "looks for the answers in memory": (
        "import gc\ndef f(x):\n    for o in gc.get_objects():\n"
        "        if type(o) in (list, tuple) and list(o)[:3] == [2 * v + 1 for v in (3, 5, 7)]:\n"
        "            return 2 * x + 1\n",
        "wrong output on call 1",
    ),
    "patches what judges": (
        "import builtins, json, sys\ndef f(x):\n    for name in ('all', 'any', 'print', 'len'):\n"
        "        setattr(builtins, name, lambda *a, **k: True)\n"
        "    json.dumps = json.loads = lambda *a, **k: '7'\n"
        "    main = sys.modules['__main__']\n    for name in list(vars(main)):\n"
        "        if not name.startswith('__'): setattr(main, name, lambda *a, **k: '7')\n",
        "",
    ),
    "tells a passed call itself": (
        "import gc, os, sys\ndef f(x):\n    frame = sys._getframe()\n"
        "    while frame and 'tell' not in frame.f_locals: frame = frame.f_back\n"
        "    for _ in range(3): frame.f_locals['tell']('[\"ok\",0.0,\"builtins.int\",true]')\n"
        "    os._exit(0)\n",
        "wrong output on call 1",
    ),
    "tells more calls than there are": (
        "import os, sys\ndef f(x):\n    frame = sys._getframe()\n"
        "    while frame and 'tell' not in frame.f_locals: frame = frame.f_back\n"
        "    if x == 7:\n        frame.f_locals['tell']('[\"ok\",0.0,\"builtins.int\",15]')\n"
        "    return 2 * x + 1\n",
        "malformed output",
    ),
    "cyclic": ("def f(x):\n    a = []\n    a.append(a)\n    return a\n", "wrong output on call 1"),
    "small, and huge when spelled": (
        "def f(x):\n    a = [1] * 99\n    for _ in range(50): a = [a] * 99\n    return a\n",
        "too much output on call 1",
    ),
    "NaN": ("def f(x): return float('nan')\n", "wrong output on call 1"),
    "infinite": ("def f(x): return float('inf')\n", "wrong output on call 1"),
    "writes files": (
        "import os\ndef f(x):\n"
        "    for p in ('/', '/tmp', '/usr', '/dev', '/dev/shm', '/python', '.'):\n"
        "        try:\n            open(os.path.join(p, 'file'), 'w').close()\n"
        "            return 2 * x + 1\n        except OSError: pass\n",
        "wrong output on call 1",
    ),
    "writes through a link": (
        "import os\ndef f(x):\n    os.symlink('/usr/file', 'link')\n    open('link', 'w').close()\n"
        "    return 2 * x + 1\n",
        "OSError on call 1",
    ),
    "millions of files": (
        "import os\ndef f(x):\n    for n in range(10**7): os.close(os.open(f'n{n}', os.O_CREAT))\n"
        "    return 2 * x + 1\n",
        "OSError on call 1",
    ),
    "memory outside its address space": (
        "import os\ndef f(x):\n    os.memfd_create('m')\n    return 2 * x + 1\n", "PermissionError",
    ),
    "reads what is not its own": (
        "import os\ndef f(x):\n"
        "    for p in ('/etc/passwd', '/root', '/home', '/proc/self/environ', '/proc/1/environ'):\n"
        "        if os.path.exists(p): return 2 * x + 1\n"
        "    if 'hidden word' in repr(os.environ): return 2 * x + 1\n",
        "wrong output on call 1",
    ),
    "a file system of its own": (
        "import ctypes\ndef f(x):\n    c = ctypes.CDLL(None)\n"
        "    if c.unshare(0x10020000) == 0: return 2 * x + 1\n",
        "wrong output on call 1",
    ),
}  # fmt: skip


def processes_with(mark: str) -> list[int]:
    """Processes whose command line holds the mark, once those that are dying have had time to."""
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
    """A grader whose processes can be told from all others."""
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
    start = time.monotonic()
    (grade,) = grader.grade([(f"```python\n{code}\n```", REFERENCE)])
    assert time.monotonic() - start < 12
    assert not grade.correct
    assert grade.reason.startswith(reason), grade.reason
    assert processes_with(mark) == []
    assert leftovers() == files


@needs_bubblewrap
def test_a_result_of_floats_cannot_lie(marked):
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
    mark = f"mark-{uuid.uuid4()}"
    start = time.monotonic()
    outcome = Sandbox().run(
        f"import os, time\nos.write(1, b'started')\n{attack}\n# {mark}",
        b"", wall_s=2.0, silence_s=2.0, output_bytes=1000,
    )  # fmt: skip
    assert outcome.output == b"started"
    assert time.monotonic() - start < 4
    assert processes_with(mark) == []


@needs_bubblewrap
def test_the_number_of_processes_is_bounded_without_the_filter_too(monkeypatch):
    monkeypatch.setattr(seccomp, "program", lambda: None)
    count = (
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(9)\n"
    )
    count += "        n += 1\nexcept OSError: print(n)"
    outcome = Sandbox().run(count, b"", wall_s=5, silence_s=5, output_bytes=99)
    assert 0 < int(outcome.output) <= sandbox.PROCESSES


@needs_bubblewrap
def test_the_parent_stops_reading_at_the_bound_and_at_the_deadline():
    run = Sandbox().run
    flood = run("while True: print('x' * 999)", b"", wall_s=9, silence_s=9, output_bytes=5000)
    assert (flood.end, len(flood.output)) == ("output", 5000)
    quiet = run("import time; time.sleep(9)", b"", wall_s=9, silence_s=0.5, output_bytes=9)
    assert quiet.end == "silence"
    drip = "import time\nwhile True: print(1, flush=True); time.sleep(0.1)"
    assert run(drip, b"", wall_s=1, silence_s=0.5, output_bytes=999).end == "time"


@needs_bubblewrap
def test_stop_ends_what_runs():
    box, ended = Sandbox(), []
    options = {"wall_s": 60, "silence_s": 60, "output_bytes": 9}
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
    outcome = Sandbox(slots=2).run(code, b"", wall_s=20, silence_s=20, output_bytes=9999)
    user, names, folders = json.loads(outcome.output)
    assert user == (sandbox.FIRST_USER if os.geteuid() == 0 else os.geteuid())
    assert set(names) <= {*sandbox.ENVIRONMENT, *sandbox.INSIDE, "PWD", "LC_CTYPE"}
    assert not {"root", "home", "tmp", "proc", "work", "sys", "run", "var"} & set(folders)


def test_a_missing_bubblewrap_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "apt-get install bubblewrap" in (sandbox.check() or "")
    with pytest.raises(RuntimeError, match="apt-get install bubblewrap"):
        CodeGrader()
    assert "choose one of bubblewrap, none" in (sandbox.check("docker") or "")


def test_a_bubblewrap_that_may_not_run_is_told(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    told = sandbox.check() or ""
    assert "No permissions" in told and "sandbox=none" in told


def test_without_a_sandbox_the_limits_hold_after_a_warning():
    files = leftovers()
    with pytest.warns(UserWarning, match="run on this machine as you"):
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
