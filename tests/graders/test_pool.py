"""The pool of killable worker processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from conftest import interpreter

from esr_cli.graders import watch
from esr_cli.graders.pool import Pool


def make_worker():
    def work(item):
        what, value = item
        if what == "sleep":
            time.sleep(value)
        if what == "spin":
            while True:
                pass
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "eat":
            return len(bytearray(value))
        if what == "raise":
            raise KeyError(value)
        if what == "pid":
            return os.getpid()
        return value

    return work


def make_nothing():
    raise ImportError("no such package")


@pytest.fixture
def pool():
    pool = Pool(make_worker, workers=2, seconds=1, memory_gib=1)
    yield pool
    pool.close()


def gone(pids: list[int]) -> bool:
    """Returns whether no process is running or a zombie."""
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_an_item_that_hangs_dies_or_exhausts_memory_affects_only_itself(pool):
    bad = [("spin", 0), ("die", 0), ("eat", 2**31), ("raise", "why")]
    items = [("give", 0), *(item for n, one in enumerate(bad, 1) for item in (one, ("give", n)))]
    outcomes = pool.map(items)
    assert [outcome.value for outcome in outcomes[::2]] == [0, 1, 2, 3, 4]
    assert [outcome.failure for outcome in outcomes[1::2]] == [
        "timed out", "worker died", "out of memory", "KeyError: 'why'",
    ]  # fmt: skip


def test_an_item_that_waits_is_bounded_by_the_clock(pool, monkeypatch):
    # Longer than its limit of CPU time.
    assert pool.map([("sleep", 1.3)])[0].failure is None
    monkeypatch.setattr(watch, "WALL_FACTOR", 1)
    assert pool.map([("sleep", 60), ("give", 1)])[0].failure == "timed out"


def test_a_worker_killed_from_outside_is_replaced(pool):
    first = {outcome.value for outcome in pool.map([("pid", 0)] * 20)}
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert [outcome.value for outcome in pool.map([("give", n) for n in range(20)])] == [*range(20)]
    assert gone(list(first))


def test_a_worker_killed_while_it_starts_is_replaced(pool):
    def kill_the_first():
        while not pool.pids:
            time.sleep(0.001)
        os.kill(pool.pids[0], signal.SIGKILL)

    threading.Thread(target=kill_the_first).start()
    assert [outcome.value for outcome in pool.map([("give", n) for n in range(9)])] == [*range(9)]


def test_a_worker_killed_in_the_middle_of_a_batch(pool):
    pool.map([("give", 0)] * 2)
    victim = pool.pids[0]
    threading.Timer(0.3, os.kill, (victim, signal.SIGKILL)).start()
    outcomes = pool.map([("sleep", 0.6)] * 2 + [("give", n) for n in range(50)])
    assert [outcome.failure for outcome in outcomes].count("worker died") == 1
    assert [outcome.value for outcome in outcomes[2:]] == list(range(50))
    assert victim not in pool.pids and gone([victim])


def test_workers_ignore_ctrl_c_and_start_lazily(pool):
    assert pool.pids == []
    assert pool.map([]) == [] and pool.pids == []
    pool.map([("give", 0)])
    assert len(pool.pids) == 1
    timer = threading.Timer(0.2, os.kill, (pool.pids[0], signal.SIGINT))
    timer.start()
    assert pool.map([("sleep", 0.5)])[0].failure is None


def test_threads_take_turns_and_small_items_are_fast(pool):
    pool.map([("give", 0)] * 2)
    results: dict[int, list[int]] = {}

    def use(thread: int) -> None:
        items = [("give", thread * 10_000 + n) for n in range(1000)]
        results[thread] = [outcome.value for outcome in pool.map(items)]

    start = time.process_time()
    threads = [threading.Thread(target=use, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: list(range(n * 10_000, n * 10_000 + 1000)) for n in range(4)}
    assert time.process_time() - start < 8


def test_close_leaves_no_process_and_the_pool_usable(pool):
    pool.map([("give", 0)] * 2)
    before = pool.pids
    pool.close()
    assert before and gone(before) and pool.pids == []
    pool.close()
    assert pool.map([("give", 7)])[0].value == 7


def test_an_interrupted_call_leaves_nothing_for_the_next(pool):
    pool.map([("give", 0)])

    class Stop(Exception):
        pass

    def interrupt(*_):
        raise Stop

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(Stop):
            pool.map([("sleep", 0.8)])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert pool.map([("give", 5)])[0].value == 5


def test_workers_end_with_their_owner():
    code = (
        "import os; from esr_cli.graders.math import MathGrader; g = MathGrader(1)\n"
        "g.grade([(r'\\boxed{x+1}', '1+x')]); print(*g._pool.pids, flush=True); os._exit(0)"
    )
    done = interpreter("-c", code)
    pids = [int(pid) for pid in done.stdout.split()]
    limit = time.monotonic() + 5
    while not gone(pids) and time.monotonic() < limit:
        # A dead orphan stays a zombie if the init process does not reap it.
        if all("Z" in Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in pids):
            return
        time.sleep(0.05)
    assert pids and gone(pids), done.stderr


def test_a_worker_that_cannot_start_raises_with_the_reason():
    pool = Pool(make_nothing, workers=1)
    with pytest.raises(RuntimeError, match="no such package"):
        pool.map([1])
    assert pool.pids == []
