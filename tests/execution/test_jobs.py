"""Jobs: `esr` commands that run in their own process."""

from __future__ import annotations

from esr_cli.execution import jobs


def test_a_finished_job_has_the_reason_of_its_failure(tmp_path):
    log = tmp_path / "log"
    ended = jobs.run("train", ["+rollout_len=0"], log)
    assert ended.status == 2 and ended.reason.startswith("rollout_len=0: give"), ended
    ended = jobs.run("--help", [], log)
    assert ended.status == 0 and ended.reason == "" and "usage: esr" in log.read_text()
    line = "the engine failed in generate: ValueError: odd (esr_cli/rollout/eager.py:7)"
    text = f"x\nesr: {line}; the traceback is in run/esr.log; …\ngo on with: esr train resume=x"
    assert jobs._reason(text, 1) == line
    assert jobs._reason("warning: x\nTraceback\nMemoryError: y\n", 1) == "MemoryError: y"
    assert jobs._reason("", -9) == "killed by SIGKILL"
