"""The config gate: composed yaml becomes a typed configuration, or a one-line `ConfigError`."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import operator
import re
from typing import get_origin, get_type_hints

import pytest
from conftest import read
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from esr_cli.base.files import conf_dir
from esr_cli.cli import composing
from esr_cli.config import (
    BenchConfig,
    CompareConfig,
    ConfigError,
    EvalConfig,
    LabConfig,
    ProbeCommandConfig,
    ReproduceConfig,
    TrainConfig,
    gate,
)  # fmt: skip


@pytest.mark.parametrize("spelling", ["rollout_len", "+rollout_len", "++rollout_len"])
def test_rollout_len_works_with_and_without_a_plus(spelling):
    assert read(f"{spelling}=64").rollout_tokens == 64
    assert read(f"{spelling}=full").rollout_tokens == read().pair.max_response_tokens
    assert read().rollout_tokens == 100


@pytest.mark.parametrize("value", ["0", "-5", "abc", "true", "1.5", "null"])
def test_an_invalid_length_is_a_one_line_error(value):
    with pytest.raises(ConfigError) as caught:
        read(f"+rollout_len={value}")
    assert str(caught.value).startswith("rollout_len=") and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["-1", "0.001", "2.5"])
def test_an_unsupported_temperature_is_an_error(value):
    with pytest.raises(ConfigError, match=r"in \[0.01, 2\]"):
        read(f"rollout.temperature={value}")
    assert read("rollout.temperature=0").rollout.temperature == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["rollout=eager"], "give rollout=vllm"),
        (["execution.rollouts=2"], "execution.rollouts=2: a response must not depend"),
        (["rollout.seeds=none"], "response, batch"),
    ],
)
def test_one_seed_for_a_batch_is_refused_where_single_responses_are_repeated(given, says):
    assert read("rollout.seeds=batch").rollout.seeds == "batch"
    with pytest.raises(ConfigError, match=says) as caught:
        read("rollout.seeds=batch", *given)
    assert str(caught.value).startswith("rollout.seeds=") and "\n" not in str(caught.value)


GROUPS = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())
# Groups that are not selected as group=option.
PLACE = {"lm": "lm@pair.student", "sweep": "+sweep", "cluster": "+cluster"}
# The options of training; the group `probe` belongs to `esr probe`.
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
    if (group, option) == ("teacher", "server"):
        chosen.append("teacher.urls=[http://some.where:8000]")
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


SCHEMAS = {
    "train": (TrainConfig, ()), "bench": (BenchConfig, ()), "lab": (LabConfig, ()),
    "probe": (ProbeCommandConfig, ("probe=profile",)), "eval": (EvalConfig, ("model=x",)),
    "compare": (CompareConfig, ("a=x", "b=y")), "reproduce": (ReproduceConfig, ()),
}  # fmt: skip


def numbers(tree, path=()):
    """The places of all numbers in nested settings; those that are null are left out."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from numbers(value, (*path, name))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, name)


@pytest.mark.parametrize("command", SCHEMAS)
def test_every_number_has_bounds(command):
    schema, given = SCHEMAS[command]
    plain = gate.as_plain(read(*given, command=command, schema=schema))
    inherited = get_type_hints(TrainConfig) if schema is not TrainConfig else {}
    faults = []
    for place in numbers(plain):
        if issubclass(schema, TrainConfig) and place[0] in inherited:
            continue
        for value in (math.nan, math.inf, -1, 2**40):
            tree = copy.deepcopy(plain)
            holder = functools.reduce(operator.getitem, place[:-1], tree)
            if value == 2**40 and isinstance(holder[place[-1]], float):
                continue
            holder[place[-1]] = value
            try:
                gate.typed(tree, schema)
                faults.append(f"{'.'.join(place)}={value} passes")
            except ConfigError as error:
                # `rollout_len` is how rollout.max_tokens is typed.
                key = re.split("[=:]", str(error))[0].replace("rollout_len", "max_tokens")
                if place[-1] not in key or "\n" in str(error):
                    faults.append(f"{'.'.join(place)}={value}: {error}")
    assert faults == []


@pytest.mark.parametrize("pair", ["lab", "own", "qwen25math_1p5b__qwen3_1p7b"])
def test_every_setting_of_train_can_be_given_by_its_name(pair):
    """Without a plus, because all settings are in the composed tree."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = compose("train", overrides=[f"pair={pair}"])
    plain = OmegaConf.to_container(tree)
    for name in leaves(TrainConfig):
        node = plain
        for part in name.split("."):
            assert part in node, f"{name} is in no yaml"
            node = node[part]


def misspelt_settings():
    for name in leaves(TrainConfig):
        yield name[:-1] + ("x" if name[-1] != "x" else "y")


@pytest.mark.parametrize("name", misspelt_settings())
def test_the_error_for_a_misspelt_setting_names_it(name):
    with pytest.raises(ConfigError) as caught:
        read(f"+{name}=1")
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("group", ["pair", "loss", "lengths", "tune"])
def test_the_defaults_in_train_yaml_equal_those_of_the_dataclasses(group):
    section = OmegaConf.to_container(OmegaConf.load(conf_dir() / "train.yaml"))[group]
    schema = get_type_hints(TrainConfig)[group]
    assert dataclasses.asdict(gate.typed(section, schema)) == dataclasses.asdict(schema())
    assert set(section) == {field.name for field in dataclasses.fields(schema)}


def test_the_defaults_in_lab_yaml_equal_those_of_the_dataclass():
    assert read(command="lab", schema=LabConfig) == LabConfig()


def test_the_size_of_a_whole_checkpoint_is_not_negative():
    with pytest.raises(ConfigError, match=r"execution.whole_gib=-1.0: give 0 or more"):
        read("execution.whole_gib=-1")


@pytest.mark.parametrize(("given", "message"), [
    ("steps=abc", "steps=abc: give a whole number"),
    ("steps=5.5", "steps=5.5: give a whole number"),
    ("steps=null", "steps=null: give a whole number"),
    ("seed=true", "seed=true: give a whole number"),
    ("seed=[0,1]", "seed=[0, 1]: takes one value; several are a sweep, -m seed=0,1"),
    ("run_dir=[a]", "run_dir=[a]: takes one value, run_dir=a"),
    ("limit=x", "limit=x: give a whole number or null"),
    ("watch.share=x", "watch.share=x: give a number or null"),
    ("dry_run=maybe", "dry_run=maybe: give true or false"),
    ("tune.alpha={a:1}", "tune.alpha={a: 1}: give a whole number"),
    ("task.files=x", "task.files=x: takes a list, task.files=[x]"),
    ("task.files=null", "task.files=null: takes a list, task.files=[]"),
    ("lengths.stages=[[a,b]]", "lengths.stages=a: give a whole number"),
    ("lengths.stages=[3]", "lengths.stages=3: takes a list, lengths.stages=[3]"),
    ("pair.student=x", "pair.student=x: holds settings; give pair.student.path=…"),
    ("++pair.teachers.a=x", "pair.teachers.a=x: holds settings; give pair.teachers.a.path=…"),
    ("benchmark.lab.max_tokens=x", "benchmark.lab.max_tokens=x: give a whole number"),
    (f"tune.learning_rate={10**400}", "tune.learning_rate"),
])  # fmt: skip
def test_a_value_of_a_wrong_type_is_told_what_it_must_be(given, message):
    with pytest.raises(ConfigError) as caught:
        read(given)
    assert str(caught.value).startswith(message), caught.value


@pytest.mark.parametrize(("given", "message"), [
    ("run_dir=a,b", 'run_dir=a,b: several values are a sweep, -m run_dir=a,b; a comma in a text '
     "needs two quotes, run_dir=\"'a,b'\""),
    ("++tune=lora", "++tune=lora: an option is chosen without a plus, tune=lora"),
    ("loss.by={a:1}", "loss.by={a:1}: is no value for it; esr train --help=loss.by says what is"),
    ("tune=null", "tune=null: no such option; there are authors_full, authors_lora, full, "),
    ("benchmark.gsm8k.samples=2",
     "benchmark.gsm8k.samples=2: gsm8k is not chosen; give benchmark=[…,gsm8k], too"),
    ("zzzz=3", "zzzz=3: no such setting; esr train --help shows what there is"),
])  # fmt: skip
def test_what_hydra_refuses_is_told_in_the_words_of_esr(given, message):
    with pytest.raises(ConfigError) as caught:
        composing.settings("train", [given])
    assert str(caught.value).startswith(message), caught.value


def test_no_recipe_may_be_said():
    assert composing.settings("train", ["recipe=null"])[0] == composing.settings("train", [])[0]
