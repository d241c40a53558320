"""Responses that attack the sandbox; each would be graded as correct if its attack succeeded."""

from __future__ import annotations

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

# name: (response, start of the expected reason)
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
    "forges a passed call": (
        "import gc, os, sys\ndef f(x):\n    frame = sys._getframe()\n"
        "    while frame and 'emit' not in frame.f_locals: frame = frame.f_back\n"
        "    for _ in range(3): frame.f_locals['emit']('[\"ok\",0.0,\"builtins.int\",true]')\n"
        "    os._exit(0)\n",
        "wrong output on call 1",
    ),
    "forges too many calls": (
        "import os, sys\ndef f(x):\n    frame = sys._getframe()\n"
        "    while frame and 'emit' not in frame.f_locals: frame = frame.f_back\n"
        "    if x == 7:\n        frame.f_locals['emit']('[\"ok\",0.0,\"builtins.int\",15]')\n"
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
