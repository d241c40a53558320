"""Settings from a file of a stranger's: plain data, and one line for anything else."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import settings

from esr_cli.config import ConfigError, TrainConfig, gate, saved_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB, "a: &a [*a]", "[" * 90_000, "{a: " * 50_000, "- " * 90_000, "a: [", "a: 'b",
        "a: \x01",
        "a: !!python/object/apply:os.system [id]", "a: !!binary aGk=", "a: !!set {b}", "? [a]\n: b",
        f"a: {'9' * 9000}", "", "7", "- a", "a: b\n--- \nc: d", "a: *b", "<<: *b", "\ufffe",
        "a: " + "x" * (1 << 19),
    ],
    ids=range(21),
)  # fmt: skip
def test_what_is_no_plain_mapping_is_one_line(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        gate.read_yaml(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 300


def test_nothing_is_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    saved = settings()
    saved["tracking"]["name"] = "${oc.env:HF_TOKEN}"
    saved["pair"]["student"]["path"] = "${seed}"
    gate.write_yaml(saved, tmp_path / "config.yaml")
    config = gate.typed(gate.read_yaml(tmp_path / "config.yaml"), TrainConfig)
    assert config.tracking.name == "${oc.env:HF_TOKEN}" and config.pair.student.path == "${seed}"
    gate.write_yaml(gate.as_plain(config), tmp_path / "again.yaml")
    assert "secret" not in (tmp_path / "again.yaml").read_text()
    saved["seed"] = "${oc.env:HF_TOKEN}"
    with pytest.raises(ConfigError) as caught:
        gate.typed(saved, TrainConfig)
    assert "secret" not in str(caught.value)


@dataclasses.dataclass
class Named:
    name: str = ""


text = st.text(st.sampled_from("\\${}a:'\"[]#-\n.1e5+nuyes,&*!?|>%@`~ \t\u2028é"), max_size=9)


@given(text)
def test_a_text_is_written_read_and_typed_as_it_is(tmp_path_factory, name):
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    tree = {"name": name, "more": [name, 1e-5, 1.5e300, -3, True, None, {"a": name}]}
    path.write_text(saved_yaml.write(tree))
    assert saved_yaml.read(path) == tree
    if name != "???":
        assert gate.typed({"name": name}, Named).name == name


def test_dates_and_exponents_are_read_as_settings_are_typed(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1e-5\nb: 2026-01-01\nc: [1E3, .5e2]\n")
    found = gate.read_yaml(tmp_path / "a.yaml")
    assert found == {"a": 1e-5, "b": "2026-01-01", "c": [1000.0, 50.0]}
