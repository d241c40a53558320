"""`esr COMMAND --help`: short, complete, and the same by every way that people ask for it."""

from __future__ import annotations

import pytest
from conftest import esr

from esr_cli.cli import help as helps
from esr_cli.cli import known, main
from esr_cli.cli.main import COMMANDS
from esr_cli.config import ConfigError

TRAIN = COMMANDS["train"][0]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_a_screen_and_names_its_settings(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = helps.page(command, COMMANDS[command][0], "")
    lines = text.splitlines()
    assert len(lines) <= 56 and max(map(len, lines)) <= 100, len(lines)
    assert lines[0].startswith(f"esr {command}: ") and len(lines[0]) > len(f"esr {command}: ")
    own = [each for each in helps.defaults(command) if each not in ("defaults", "hydra")]
    inner = {name.partition(".")[0] for name in known.names(command, COMMANDS[command][0])
             if "." in name}  # fmt: skip
    for name in set(own) - inner:
        shown = "lengths" if name == "rollout_lens" else name
        assert f"  {name}=" in text or f"  {shown}=" in text, name


def test_all_has_every_setting_and_at_80_columns_no_longer_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = helps.page("train", TRAIN, "all")
    assert max(map(len, text.splitlines())) <= 80
    for name in known.names("train", TRAIN):
        first, *rest = name.split(".")
        shown = ".".join([first, "NAME", *rest[1:]]) if first in known.NAMED and rest else name
        if name not in ("nodes", "rollout_len"):
            assert f"  {shown}=" in text, name


def test_one_setting_has_type_default_choices_and_a_group_its_options():
    text = helps.page("train", TRAIN, "loss.reduction")
    assert "token_mean (each" not in text and "or sequence_mean (each response" in text
    assert "choices  token_mean, sequence_mean, sequence_sum" in text
    assert "default  token_mean" in text
    assert "default  0.0002" in helps.page("train", TRAIN, "tune.learning_rate")  # of lab_full
    group = helps.page("train", TRAIN, "tune")
    assert "tune.learning_rate=" in group and "  tune=lab_lora" in group
    assert "N in tokens" in helps.page("train", TRAIN, "rollout_len")
    with pytest.raises(ConfigError, match="did you mean steps"):
        helps.page("train", TRAIN, "stepz")


def test_what_needs_no_settings_has_help_too_and_completes_flags(tmp_path):
    for name in (*main.SMALL, *helps.SMALL):
        asked = [esr(*words, cwd=tmp_path) for words in ([name, "--help"], ["help", name])]
        assert {(each.returncode, each.stderr) for each in asked} == {(0, "")}
        start = f"esr {name.lstrip('-')}: "
        assert all(each.stdout.startswith(start) and "usage: " in each.stdout for each in asked)
    assert "file=esr.yaml" in esr("init", "pair=own", "-h", cwd=tmp_path).stdout
    assert not list(tmp_path.iterdir())
    assert esr("completion", "words", "train", "--help", "3").stdout == "--help\n"


def test_help_is_the_same_by_each_way_to_ask(tmp_path):
    asked = [esr(*words, cwd=tmp_path) for words in (
        ["train", "--help"], ["train", "-h"], ["help", "train"], ["train", "seed=1", "--help"],
    )]  # fmt: skip
    assert {each.returncode for each in asked} == {0}
    assert len({each.stdout for each in asked}) == 1
    assert "Hydra" in esr("train", "--hydra-help", cwd=tmp_path).stdout
    assert not list(tmp_path.iterdir())


def test_a_default_that_follows_something_is_shown_in_plain():
    for command, (schema, _) in main.COMMANDS.items():
        assert "${" not in helps.page(command, schema, "all"), command
    assert "  default  100\n" in helps.page("train", "TrainConfig", "rollout_len")
