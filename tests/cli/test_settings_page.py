"""docs/settings.md matches the code."""

from __future__ import annotations

import runpy

import pytest
from conftest import ROOT

from esr_cli.cli import known
from esr_cli.cli.main import COMMANDS

PAGE = (ROOT / "docs" / "settings.md").read_text()


def test_the_page_is_up_to_date(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    write = runpy.run_path(str(ROOT / "scripts" / "write_settings.py"))
    assert write["page"]() == PAGE, "run python scripts/write_settings.py"
    terminal = (ROOT / "docs" / "terminal.md").read_text()
    assert write["terminal"](terminal) == terminal, "run python scripts/write_settings.py"


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"check", "probe"}))
def test_every_completed_setting_is_on_the_page(command):
    for name in known.names(command, COMMANDS[command][0]):
        first, *rest = name.split(".")
        if first == "benchmark" and rest:
            name = f"benchmark.NAME.{rest[1]}"
        named = (f"`{name}`", f"`{name}=", f"### {name}", f"`{name.rsplit('.', 1)[0]}`")
        assert any(each in PAGE for each in named) or name in ("rollout_len", "nodes"), name
