"""`config=FILE` and `esr init`: settings from a file, checked as those on the command line."""

from __future__ import annotations

import pytest
from conftest import INLINE, SHORT, esr

from esr_cli.cli import composing, config_file, init
from esr_cli.config import ConfigError, gate

SCHEMA = "TrainConfig"


def expanded(tmp_path, text, *typed):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    return config_file.expanded("train", SCHEMA, [*typed, f"config={path}"])


def test_a_file_becomes_the_settings_that_it_names_and_what_is_typed_wins(tmp_path):
    text = (
        "pair: own\npair.student.path: it's/a\ntune: {rank: 8, learning_rate: 1e-3}\nsteps: 3\n"
        "benchmark:\n  lab: {samples: 2}\ntask.files: [a.jsonl, b c.jsonl]\nlimit: null\n"
        "pair.student.shape: {layers: 2}\n"
    )
    assert expanded(tmp_path, text, "steps=5") == [
        "pair=own", "pair.student.path='it\\'s/a'", "tune.rank=8", "tune.learning_rate=0.001",
        "benchmark=[lab]", "++benchmark.lab.samples=2", "task.files=[a.jsonl,'b c.jsonl']",
        "limit=null", "++pair.student.shape.layers=2", "steps=5",
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [
    ("stepz: 3\n", "stepz: no such setting; did you mean steps?"),
    ("tune: {rnk: 3}\n", "tune.rnk: no such setting; did you mean tune.rank?"),
    ("- a\n", "holds no settings"),
    ("lr: 1e-4\n", "config={path}: lr: esr's name for it is tune.learning_rate"),
    ("loss: [reverse_kl, forward_kl]\n", "loss: takes one option, loss: reverse_kl"),
    ("N: 64\n", "N: esr's name for it is rollout_len"),
    ("steps: 1e2\n", "steps=100.0: give a whole number"),
    ("steps: zwei\n", "config={path}: steps=zwei: give a whole number"),
    ("tune: {method: loraa}\n", "tune.method=loraa: choose one of lora, full"),
    ("tune:\n  rank: [8, 16]\n", "tune.rank=[8, 16]: takes one value; several are a sweep"),
    ("loss: {by: [kl]}\n", "loss.by=kl: choose one of reverse_kl"),
    ("benchmark: {lab: {samples: x}}\n", "benchmark.lab.samples=x: give a whole number"),
    ("a: [\n", "is broken YAML"),
    ("tune: lora\ntune: {rank: 3}\n", "my.yaml:2: the key tune stands in it twice, first in line "
     "1; keep one of them; beside an option, tune.KEY: VALUE sets one of its settings"),
    ("steps: 3\ntune:\n  rank: 3\n  alpha: 3\n  rank: 4\n",
     "my.yaml:5: the key rank stands in it twice, first in line 3; keep one of them"),
    ("tune: {rank: 3}\ntune.rank: 4\n", "tune.rank is set twice, nested or with dots; keep one"),
    ("rollout_len: 8\nrollout: {max_tokens: 4}\n", "rollout_len is set twice"),
    ("tracking.name: ${oc.env:HOME}\n", "tracking.name: ${ in a file is not resolved"),
])  # fmt: skip
def test_what_is_wrong_in_a_file_names_the_file(tmp_path, text, message):
    with pytest.raises(ConfigError, match=r"my\.yaml") as caught:
        expanded(tmp_path, text)
    message = message.replace("{path}", str(tmp_path / "my.yaml"))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no such file; esr init writes one"):
        config_file.expanded("train", SCHEMA, ["config=nowhere.yaml"])
    with pytest.raises(ConfigError, match="config=: name a file, config=FILE"):
        config_file.expanded("train", SCHEMA, ["config="])
    with pytest.raises(
        ConfigError, match=r"confg=my\.yaml: no such setting; did you mean config\?"
    ):
        composing.settings("train", ["confg=my.yaml"])


def test_what_is_typed_replaces_a_group_and_all_in_it(tmp_path):
    text = ("rollout: {engine: eager, max_tokens: 64}\nloss: {divergence: forward_kl}\n"
            "run_dir: null\nbenchmark: {lab: {samples: 2}, mine: {kind: lab}}\n"
            "pair.student.system: 'a\\'\n")  # fmt: skip
    assert expanded(tmp_path, text, "rollout_len=8", "loss=reverse_kl", "seed=1") == [
        "rollout.engine=eager", "benchmark=[lab]", "++benchmark.lab.samples=2",
        "++benchmark.mine.kind=lab", "pair.student.system='a\\\\'", "rollout_len=8",
        "loss=reverse_kl", "seed=1",
    ]  # fmt: skip
    for typed in ("benchmark=[]", "~benchmark", "rollout=vllm", "lm@pair.student=qwen3_4b"):
        left = expanded(tmp_path, text, typed)
        group = typed.lstrip("~").partition("=")[0].rpartition("@")[2]
        assert [each for each in left if each.lstrip("+").startswith(f"{group}.")] == []


def test_a_run_takes_the_file_that_init_writes_and_the_config_of_a_run(tmp_path):
    given = ["rollout_len=8", "tune.rank=4", "tune=lab_lora", f"file={tmp_path / 'esr.yaml'}"]
    init.run(given)
    text = (tmp_path / "esr.yaml").read_text()
    assert "\nrollout_len: 8 " in text and "\ntune.rank: 4\n" in text and "\n# seed: 0" in text
    with pytest.raises(ConfigError, match="is there already"):
        init.run(given)
    short = [*INLINE, *SHORT[1:], "steps=1", "watch.every=null"]
    done = esr("train", "config=esr.yaml", *short, "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "adapter").is_dir()
    done = esr("train", "config=run/config.yaml", "run_dir=again", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first, again = (gate.read_yaml(tmp_path / run / "config.yaml") for run in ("run", "again"))
    assert {key for key in first if first[key] != again[key]} == {"run_dir", "config_hash"}


@pytest.mark.parametrize("argument", [
    "pair.student.path=a: b", "pair.student.path=a #b", "run_dir=my runs/a",
    "pair.student.system='true'", "pair.student.system=", "pair.student.system='a\\'b \"c\"'",
    "pair.student.system='say\n  it\n'", "tracking.name=é", "tracking.name='null'", "limit=null",
    "tracking.tags=[a b,'c: d',no,'no',1,'1']", "tune.learning_rate=1e-4", "strict=true",
    "task.files=[a.jsonl,b c.jsonl]", "rollout_len=full", "lengths.stages=[[0,16],[9,32]]",
    "benchmark=[lab,gsm8k]", "tracking=[wandb,tensorboard]",
    "benchmark=[]", "tracking=none", "pair.student.system=a=b", "data_dir=~/x",
    "pair.student.system=# a", "tracking.name=- x",
])  # fmt: skip
def test_what_init_writes_comes_back_as_it_was_typed(argument, tmp_path):
    path, key = tmp_path / "esr.yaml", argument.partition("=")[0]
    init.run([argument, f"file={path}"])
    found = config_file.expanded("train", SCHEMA, [f"config={path}"])
    [back] = [each for each in found if each.startswith(f"{key}=")]
    # With types: 1 is not True, and '1' not 1.
    assert repr(composing.value_of(back)) == repr(composing.value_of(argument)), path.read_text()


@pytest.mark.parametrize("given", [
    [], ["pair=own"], ["pair=own", "task=jsonl", "tune=full"], ["recipe=authors"], ["pair=real"],
    ["recipe=laptop", "steps=7", "benchmark=[lab,gsm8k]", "rollout.max_tokens=full"],
    ["benchmark=[lab,{here}/own.yaml]"],
    ["task=gsm8k", "tracking=[wandb,trackio]", "tracking.tags=[ä,b=c]", "run_dir=ü 1", "seed=3"],
])  # fmt: skip
def test_what_init_writes_composes_as_typed_and_its_comments_are_what_one_gets(given, tmp_path):
    path = tmp_path / "esr.yaml"
    (tmp_path / "own.yaml").write_text("kind: lab\n")
    given = [each.format(here=tmp_path) if "own.yaml" in each else each for each in given]
    init.run([*given, f"file={path}"])
    needed = ["pair.student.path=PATH", "pair.teacher.path=PATH"] if "pair=own" in given else []
    needed += ["task.files=[my.jsonl]"] if "task=jsonl" in given else []
    typed = composing.settings("train", [*given, *needed])[0]
    assert composing.settings("train", [f"config={path}"])[0] == typed
    # With all comments taken away it is still the same.
    lines = path.read_text().splitlines()[3:]
    shown = [each.removeprefix("# ") for each in lines if ": " in each]
    path.write_text("\n".join(each for each in shown if not each.startswith("What ")))
    assert composing.settings("train", [f"config={path}"])[0] == typed, path.read_text()


def test_init_names_what_a_choice_needs_and_refuses_what_there_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init.run(["pair=own", "task=jsonl"])
    text = (tmp_path / "esr.yaml").read_text()
    assert "\npair: own " in text and "\npair.student.path: PATH" in text
    assert "\ntask.files: [my.jsonl]" in text
    for wrong, message in (("pear=own", "did you mean pair"), ("pair=mine", "there are"),
                           ("own", "takes key=value"), ("seed=0,1", "seed=[0,1]"),
                           ("pair=[own,lab]", "no such option"), ("loss=3", "no such option"),
                           ("benchmark=[lab,x]", "no such option; there are bfcl"),
                           ("tracking.name=${x}", "not resolved"), ("stepz=1", "mean steps"),
                           ("fle=x.yaml", "did you mean file"),
                           ("steps=abc", "steps=abc: give a whole number"),
                           ("tracking.name={a:1}", "tracking.name={a: 1}: give a text"),
                           ("seed=choice(1,2)", "is several values; give one"),
                           ("benchmark=my.yaml", "my.yaml"), ("tune.rank=-1", "tune.rank=-1: "),
                           ("file=no/x.yaml", "cannot be written")):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            init.run([wrong, *([] if "x.yaml" in wrong else ["file=wrong.yaml"])])
    with pytest.raises(ConfigError, match="rollout_len is given twice; keep one"):
        init.run(["rollout.max_tokens=64", "rollout_len=32", "file=wrong.yaml"])
    assert [each.name for each in tmp_path.iterdir()] == ["esr.yaml"]
