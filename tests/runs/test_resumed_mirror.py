"""W&B's record of a run that was stopped and resumed, and of a W&B that fails meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import wandb
import wandb_log
import wandb_server
from conftest import rows
from mirrored_runs import METRICS, offline, once_each, start, when_started
from wandb_log import of, values

from esr_cli.base import files
from esr_cli.config import TrackingConfig
from esr_cli.runs import mirror, wandb_mirror
from esr_cli.runs.tracking import Tracker


def logged(history):
    """The loss by step, in W&B's history."""
    return once_each([(row["step"], row["train/loss"]) for row in history if "train/loss" in row])


def sync(folder):
    offline = sorted(folder.glob("wandb/offline-*"))
    command = [Path(sys.executable).with_name("wandb"), "sync", *offline]
    subprocess.run(command, check=True, timeout=60, cwd=folder)
    assert all(list(each.glob("*.synced")) for each in offline)


def test_a_run_stopped_and_resumed_twice_is_one_offline_file_with_each_row_once(tmp_path):
    start(tmp_path, TrackingConfig("offline"), 1, 6, evaluated=(2, 4))
    start(tmp_path, TrackingConfig("offline"), 5, 9, evaluated=(6,))
    start(tmp_path, TrackingConfig("offline"), 8, 10)
    [file] = wandb_log.files(tmp_path)
    found = wandb_log.finished(file)
    history = [values(each.item) for each in of(found, "history")]
    assert logged(history) == {step: 1 / step for step in range(1, 11)}
    evaluated = [row["step"] for row in history if "eval/lab/avg@4" in row]
    tables = [row["step"] for row in history if any(key.startswith("samples") for key in row)]
    assert evaluated == tables == [2, 4, 6]
    # Those of the earlier starts remain, under a name that `wandb sync` does not take.
    earlier = [*tmp_path.glob("wandb/replaced-offline-run-*/run-*.wandb")]
    before = [logged(values(each.item) for each in of(wandb_log.finished(path), "history"))
              for path in earlier]  # fmt: skip
    assert sorted(map(list, before)) == [[*range(1, 7)], [*range(1, 10)]]
    ids = {of(wandb_log.records(path), "run")[0].run_id for path in (file, *earlier)}
    assert len(ids) == 1


def test_an_evaluation_that_was_interrupted_is_not_repeated_in_the_mirror(tmp_path):
    start(tmp_path, TrackingConfig("disabled"), 1, 4)
    files.append_rows(tmp_path / "samples.jsonl", [{"step": 4, "id": "a"}])
    start(tmp_path, TrackingConfig("offline"), 5, 5)  # tracking=none at first
    [file] = wandb_log.files(tmp_path)
    history = [values(each.item) for each in of(wandb_log.finished(file), "history")]
    assert list(logged(history)) == [1, 2, 3, 4, 5] and len(history) == 5


@pytest.fixture
def go_online(monkeypatch, tmp_path):
    """Makes W&B use a server, by its address."""

    def use(address):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        monkeypatch.setenv("HOME", str(tmp_path))
        wandb.teardown()  # it keeps the environment of its first use

    yield use
    wandb.teardown()


def test_w_and_b_has_each_step_once_whatever_the_mode_of_each_start(
    tmp_path, monkeypatch, go_online, capsys
):
    with wandb_server.serving() as (address, runs):
        monkeypatch.setenv("WANDB_RESUME", "allow")
        go_online(address)
        start(tmp_path, TrackingConfig("offline"), 1, 6)
        sync(tmp_path)
        start(tmp_path, TrackingConfig("online"), 5, 9)
        [history] = runs.values()
        assert list(logged(history)) == [*range(1, 10)]
        [name] = runs
        assert f"\nW&B: {address}/me/esr/runs/{name}\n" in capsys.readouterr().out
        start(tmp_path, TrackingConfig("online"), 8, 11)
        start(tmp_path, TrackingConfig("offline"), 10, 12)
        sync(tmp_path)
        wandb.teardown()
        [history] = runs.values()
        assert logged(history) == {step: 1 / step for step in range(1, 13)}


def test_a_run_does_not_wait_for_a_server_that_is_slow_to_answer(
    tmp_path, monkeypatch, go_online, capsys
):
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "20")
    answers = threading.Event()
    with wandb_server.serving(answers) as (address, runs):
        go_online(address)
        with Tracker(tmp_path, {}, TrackingConfig("online"), total_steps=3) as tracker:
            tracker.open_mirror()
            for step in (1, 2, 3):
                tracker.log(step, METRICS | {"train/loss": 1 / step})
            assert not runs and "W&B" not in capsys.readouterr().out
            answers.set()
        wandb.teardown()
        [(name, history)] = runs.items()
    assert logged(history) == {step: 1 / step for step in (1, 2, 3)}
    assert capsys.readouterr().out == f"W&B: {address}/me/esr/runs/{name}\n"
    assert f"W&B: {address}/me/esr/runs/{name}\n" in (tmp_path / "esr.log").read_text()


def test_a_server_that_never_answers_is_one_warning_at_the_end(tmp_path, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TRACKIO_SERVER_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("TRACKIO_WRITE_TOKEN", "x" * 40)
        with Tracker(tmp_path, {}, offline("trackio"), total_steps=3) as tracker:
            tracker.open_mirror()
            # Later than the run waits, so that nothing of it is left behind.
            threading.Timer(2, silent.close).start()
            [connection] = tracker.mirror._connections
            connection._service.finish_s = 1
            for step in (1, 2, 3):
                tracker.log(step, METRICS)
    assert len(rows(tmp_path)) == 3
    shown = capsys.readouterr()
    assert shown.out.count("warning: trackio could not start (no answer in 1 s)") == 1, shown
    assert shown.out.count("metrics.jsonl holds everything") == 1 and shown.err == ""


def test_a_run_that_failed_waits_briefly_for_a_tracker_that_has_not_started(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(mirror, "QUIET_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TRACKIO_SERVER_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("TRACKIO_WRITE_TOKEN", "x" * 40)
        threading.Timer(2, silent.close).start()
        with (
            pytest.raises(KeyboardInterrupt),
            Tracker(tmp_path, {}, offline("trackio"), total_steps=3) as tracker,
        ):
            tracker.open_mirror()
            assert tracker.mirror._connections[0]._service.finish_s > 10
            raise KeyboardInterrupt
    assert "trackio could not start (no answer in 1 s)" in capsys.readouterr().out


def test_a_tracker_that_was_given_up_does_nothing_when_it_answers_at_last():
    answers, done, lines = threading.Event(), [], []

    class Slow:
        title, finish_s = "slow", 0.1

        def start(self):
            answers.wait()

        def give_up(self, hangs):
            answers.set()

        def finish(self):
            done.append("finish")

    connection = mirror._Connection(Slow(), lines.append)
    connection.open()
    thread = connection._thread
    connection.do(lambda service: done.append("row"))
    connection.end()
    connection.close(lines.append, failed=False)
    thread.join()
    assert not done and lines == [
        "slow could not start (no answer in 0 s); metrics.jsonl holds everything"
    ]


def test_without_a_network_an_online_run_is_logged_offline(
    tmp_path, monkeypatch, go_online, capsys
):
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    go_online("http://127.0.0.1:9")
    start(tmp_path, TrackingConfig("online"), 1, 2)
    out = capsys.readouterr().out
    assert "W&B could not go online" in out and "wandb sync" in out
    [file] = wandb_log.files(tmp_path)
    history = [values(each.item) for each in of(wandb_log.finished(file), "history")]
    assert list(logged(history)) == [1, 2]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_service_of_wandb_that_dies_or_hangs_neither_stops_nor_delays_a_run(
    fault, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(wandb_mirror.FINISH_S, "offline", 1)
    wandb.teardown()
    many = {f"key{index}": 1.0 for index in range(500)}
    with Tracker(tmp_path, {}, TrackingConfig("offline"), total_steps=200) as tracker:
        tracker.open_mirror()
        when_started(tracker)
        os.kill(wandb.setup()._connection._proc._process.pid, fault)
        for step in range(1, 201):  # more than the socket to the service holds
            tracker.log(step, many)
    assert len(rows(tmp_path)) == 200
    assert capsys.readouterr().out.count("metrics.jsonl holds everything") == 1
    wandb.teardown()  # as at the end of the process: it neither raises nor waits
