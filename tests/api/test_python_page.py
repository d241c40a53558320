"""The examples in docs/python.md."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

import esr_cli

PAGE = (ROOT / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_examples_of_the_page_run_one_after_another(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/python.md", "exec"), names)
    assert len(EXAMPLES) == 3
    name = "execution=inline,limit=32,rollout=eager,rollout_len=16,steps=4,tracking=none"
    # What does not change results is not in the name of the folder.
    kept = [each for each in name.split(",") if not each.startswith(("execution", "tracking"))]
    assert str(names["run"].folder) == f"runs/lab/{','.join(kept)}"
    printed = capsys.readouterr().out
    assert "train/reverse_kl" in printed and "step 4/4" in printed


@pytest.mark.parametrize("name", esr_cli.__all__)
def test_every_public_name_is_on_the_page_and_there(name):
    assert f"`esr.{name}" in PAGE
    assert getattr(esr_cli, name) is not None
