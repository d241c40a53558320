"""docs/settings.md is what the code says today."""

from __future__ import annotations

import runpy

import pytest
from conftest import ROOT

from esr_cli.cli import completion
from esr_cli.cli.main import COMMANDS

PAGE = (ROOT / "docs" / "settings.md").read_text()


def test_the_page_is_up_to_date():
    write = runpy.run_path(str(ROOT / "scripts" / "write_settings.py"))
    assert write["page"]() == PAGE, "run python scripts/write_settings.py"


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"check", "probe"}))
def test_every_setting_that_completion_offers_stands_there(command):
    for name in completion.settings(command, COMMANDS[command][0]):
        first, *rest = name.split(".")
        if first == "benchmark" and rest:
            name = f"benchmark.NAME.{rest[1]}"
        named = (f"`{name}`", f"`{name}=", f"### {name}", f"`{name.rsplit('.', 1)[0]}`")
        assert any(each in PAGE for each in named) or name == "rollout_len", name
