"""What a user types, right and wrong, and what comes back before any model loads."""

from __future__ import annotations

import dataclasses
from typing import get_origin, get_type_hints

import pytest
from conftest import esr, read
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from esr_cli.base.files import conf_dir
from esr_cli.config import ConfigError, LabConfig, ProbeCommandConfig, TrainConfig, gate
from esr_cli.runs import folder as run_folder


@pytest.mark.parametrize("spelling", ["rollout_len", "+rollout_len", "++rollout_len"])
def test_rollout_len_in_its_spellings(spelling):
    assert read(f"{spelling}=64").rollout_tokens == 64
    assert read(f"{spelling}=full").rollout_tokens == read().pair.max_response_tokens
    assert read().rollout_tokens == 100


@pytest.mark.parametrize("value", ["0", "-5", "abc", "true", "1.5", "null"])
def test_a_senseless_length_is_one_line(value):
    with pytest.raises(ConfigError) as caught:
        read(f"+rollout_len={value}")
    assert str(caught.value).startswith("rollout_len=") and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["-1", "0.001", "2.5"])
def test_a_temperature_that_an_engine_would_change_is_one_line(value):
    with pytest.raises(ConfigError, match=r"in \[0.01, 2\]"):
        read(f"rollout.temperature={value}")
    assert read("rollout.temperature=0").rollout.temperature == 0


GROUPS = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())
# A group that no setting chooses by itself, or several times over.
PLACE = {
    "lm": "lm@pair.student", "recipe": "+recipe", "sweep": "+sweep", "cluster": "+cluster",
}  # fmt: skip
# What `esr probe` chooses from is none of training's.
OPTIONS = [
    (group, path.stem)
    for group in GROUPS
    if group != "probe"
    for path in (conf_dir() / group).glob("*.yaml")
]
PROBES = [path.stem for path in (conf_dir() / "probe").glob("*.yaml")]


@pytest.mark.parametrize(("group", "option"), sorted(OPTIONS))
def test_every_option_composes_passes_the_gate_and_takes_a_length(group, option):
    chosen = [f"{PLACE.get(group, group)}={option}"]
    if group == "lm":
        chosen.append("pair=qwen3_4b__qwen3_8b")
    if option == "own":
        chosen += ["pair.student.path=some/student", "pair.teacher.path=some/teacher"]
    if group == "wording":
        chosen.append("task=math")
    config = read(*chosen, "+rollout_len=7")
    assert config.rollout_tokens == 7 and config.rollout.max_tokens == 7


@pytest.mark.parametrize("probe", sorted(PROBES))
def test_every_probe_composes_and_passes_the_gate(probe):
    overrides = [f"probe={probe}", "run=some/run"]
    config = read(*overrides, command="probe", schema=ProbeCommandConfig)
    assert set(config.probe) == ({probe} if probe != "all" else {*PROBES} - {"all"})


def leaves(schema, prefix=""):
    """Every setting of a schema by its dotted name."""
    for name, hint in get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{name}.")
        elif get_origin(hint) is not dict:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("pair", ["lab", "own", "qwen25math_1p5b__qwen3_1p7b"])
def test_every_setting_of_train_can_be_given_by_its_name(pair):
    """Without a plus: all of them stand in the composed tree."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = compose("train", overrides=[f"pair={pair}"])
    plain = OmegaConf.to_container(tree)
    for name in leaves(TrainConfig):
        node = plain
        for part in name.split("."):
            assert part in node, f"{name} is in no yaml"
            node = node[part]


def misspelt():
    for name in leaves(TrainConfig):
        yield name[:-1] + ("x" if name[-1] != "x" else "y")


@pytest.mark.parametrize("name", misspelt())
def test_a_misspelt_setting_is_refused_by_its_name(name):
    with pytest.raises(ConfigError) as caught:
        read(f"+{name}=1")
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("group", ["pair", "loss", "lengths", "tune"])
def test_train_yaml_says_what_the_dataclasses_say(group):
    section = OmegaConf.to_container(OmegaConf.load(conf_dir() / "train.yaml"))[group]
    schema = get_type_hints(TrainConfig)[group]
    assert dataclasses.asdict(gate.typed(section, schema)) == dataclasses.asdict(schema())
    assert set(section) == {field.name for field in dataclasses.fields(schema)}


def test_the_lab_yaml_says_what_its_dataclass_says():
    assert read(command="lab", schema=LabConfig) == LabConfig()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["+rollout_len=0"], "rollout_len=0: give a positive number"),
        (["+rollout_length=3"], "did you mean rollout_len?"),
        (["rollout.temprature=1"], "temprature"),
        (["rollout=vllmm"], "rollout=vllmm: no such option; there are eager, vllm"),
        (["benchmark=[lab,labb]"], "benchmark=labb: no such option; there are bfcl, gsm8k"),
        (["steps=0"], "steps=0"),
        (["steps=abc"], "steps"),
        (["task.files=x.jsonl"], "task.files: a list is asked for; give task.files=["),
        (["pair.student.path=./nowhere"], "no such folder"),
        (["resume=./nowhere"], "holds no checkpoint"),
        # As folders are named by esr itself.
        (["resume=runs/lab/rollout_len=64,seed=1"], "resume=runs/lab/rollout_len=64,seed=1: holds"),
        (["+rollout_len=300"], "stay below pair.context_tokens=256"),
        (["lengths=steps", "lengths.stages=[[5,16]]"], "lengths.stages=[[5, 16]]: give [["),
        (["loss.by=[kl]"], "loss.by=kl: choose one of reverse_kl"),
        (
            ["loss=window", "loss.window_start=30", "+rollout_len=16"],
            "no response is longer than 16",
        ),
        (["pair.stop_tokens=[over]"], "pair.stop_tokens: neither model has a token 'over'"),
        (["run_dir=/proc/nowhere"], "cannot be written"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(arguments, says, tmp_path):
    done = esr("train", "rollout=eager", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_folder_without_a_model_and_unlike_tokenizers_are_refused(tiny_pair, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    done = esr("train", "rollout=eager", f"pair.student.path={empty}", cwd=tmp_path)
    assert done.returncode == 2 and "holds no model" in done.stderr
    other = tmp_path / "other"
    other.mkdir()
    for entry in (tiny_pair / "teacher").iterdir():
        text = entry.read_bytes()
        if entry.name == "tokenizer.json":
            for letter in b"abcdefghijkl":
                text = text.replace(b'"%c": ' % letter, b'"%c": ' % (letter - 32))
        (other / entry.name).write_bytes(text)
    done = esr("train", "rollout=eager", f"pair.teacher.path={other}", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "pair.alignment=auto: the tokenizers differ (89%" in done.stderr, done.stderr
    assert "first unlike: 'a'" in done.stderr and done.stderr.count("\n") == 1


def test_help_lists_the_commands_and_a_misspelt_one_is_named():
    assert "train" in esr("--help").stdout
    done = esr("trian")
    assert done.returncode == 2 and "did you mean train?" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "default"),
        (["+rollout_len=64"], "rollout_len=64"),
        (["seed=1", "+rollout_len=64", "tracking=none", "strict=true"], "rollout_len=64,seed=1"),
        (["pair.student.path=/a/b"], "pair.student.path=-a-b"),
    ],
)
def test_a_runs_folder_is_named_by_what_differs(overrides, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(run_folder.free_folder(read(*overrides), overrides)) == f"runs/lab/{name}"


def test_a_folders_name_stays_within_what_file_systems_allow():
    long = [f"benchmark.lab.chain_length={i}" for i in range(20)]
    name = run_folder.name_of(long)
    assert len(name) < 150 and name != run_folder.name_of(long[1:])
