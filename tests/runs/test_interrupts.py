"""Ctrl-C and SIGTERM during a run."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from esr_cli.runs.metrics import Interrupts


def test_a_swallowed_ctrl_c_is_raised_by_check():
    # A shell starts background jobs with SIGINT ignored.
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        interrupts.check()
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        assert interrupts.signal_name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) == before
