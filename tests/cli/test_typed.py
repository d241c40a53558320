"""First mistakes: each gets one line, most of them with the command as it should be typed."""

from __future__ import annotations

import re

import pytest
from conftest import esr, interpreter

from esr_cli.cli import typed
from esr_cli.cli.main import COMMANDS
from esr_cli.config import ConfigError

MISTAKES = [
    ("train --rollout_len=64", "esr train rollout_len=64"),
    ("train -rollout_len=64", "esr train rollout_len=64"),
    ("train --rollout_len 64 seed=1", "esr train rollout_len=64 seed=1"),
    ("train +rollout_len 64", "esr train rollout_len=64"),
    ("train steps 5 seed=1", "esr train steps=5 seed=1"),
    ("train lr=1e-4 seed=1", "esr train tune.learning_rate=1e-4 seed=1"),
    ("train --learning_rate=1e-4", "esr train tune.learning_rate=1e-4"),
    ("train max_new_tokens=64", "esr train rollout_len=64"),
    ("train num_generations=8", "esr train rollouts_per_prompt=8"),
    ("train output_dir=here", "esr train run_dir=here"),
    ("train steps=1e2", "esr train steps=100"),
    ("train tune.rank=16.0", "esr train tune.rank=16"),
    ("train seed=0,1,2 steps=3", "esr train -m seed=0,1,2 steps=3"),
    ("train +rollout_len=16,full", "esr train -m +rollout_len=16,full"),
    ("train loss=reverse_kl,forward_kl", "esr train -m loss=reverse_kl,forward_kl"),
    ("train tracking=wandb,tensorboard", "esr train 'tracking=[wandb,tensorboard]'"),
    ("bench lengths=16,full", "esr bench 'lengths=[16,full]'"),
    ("teacher --port=9000", "esr teacher serve port=9000"),
    ("probe run runs/lab/rollout_len=64", "esr probe run=runs/lab/rollout_len=64"),
    ("train benchmark=lab,math500", "esr train 'benchmark=[lab,math500]'"),
    ("train task=jsonl task.files=a.jsonl,b.jsonl", "'task.files=[a.jsonl,b.jsonl]'"),
    ("eval pretrained=folder", "esr eval model=folder"),
    ("eval run=r tasks=gsm8k", "esr eval run=r benchmark=gsm8k"),
    ("probe run=r --probe=all", "esr probe run=r probe=all"),
    ("train --config=my.yaml", "esr train config=my.yaml"),
    ("train --config my.yaml seed=1", "esr train config=my.yaml seed=1"),
    ("train config my.yaml", "esr train config=my.yaml"),
    ("train -c my.yaml", "esr train config=my.yaml"),
    ("check --config-file=my.yaml", "esr check config=my.yaml"),
    ("train --confg=my.yaml", "esr train config=my.yaml"),
    ("train --learning-rate=1e-4", "esr train tune.learning_rate=1e-4"),
    ("train --resme=run", "esr train resume=run"),
    ("init --file=my.yaml", "esr init file=my.yaml"),
    ("init lr=1e-4", "esr init tune.learning_rate=1e-4"),
    ("init benchmark=lab,gsm8k", "esr init 'benchmark=[lab,gsm8k]'"),
    ("train steps= 5 seed=1", "esr train steps=5 seed=1"),
    ("train steps = 5 seed=1", "esr train steps=5 seed=1"),
    ("train steps =5 seed=1", "esr train steps=5 seed=1"),
    ("train loss=[reverse_kl,forward_kl]", "esr train -m loss=reverse_kl,forward_kl"),
    ("train -m loss=[reverse_kl,forward_kl]", "esr train -m loss=reverse_kl,forward_kl"),
    ("compare . /", "esr compare a=. b=/"),
    ("compare . / /usr", "esr compare 'runs=[.,/,/usr]'"),
    ("eval . benchmark=lab", "esr eval run=. benchmark=lab"),
    ("report .", "esr report runs=."),
    ("train run_dir= seed=1", "run_dir=: is empty; give a value or null, or leave it out"),
    ("train steps=", "steps=: is empty; give a value, or leave it out"),
    ("train rollout_len=", "rollout_len=: is empty; give a value, or leave it out"),
    ("eval run=", "run=: is empty; give a value or null, or leave it out"),
    ("train tracking=", "tracking=: is empty; there are none, tensorboard, trackio, wandb"),
    ("train tune.schedule=", "is empty; there are constant, linear, cosine"),
]
FINE = [
    "train +rollout_len=64 seed=1", "train -m seed=0,1,2", "train +sweep=lengths seed=1,2",
    "train tune.learning_rate=1e-4", "train tune.clip_norm=1e0", "train steps=1_000",
    "train 'lengths.stages=[[0,16],[9,32]]'", "train task.words.changes=[1,2]",
    "train run_dir=a,b", "bench lengths=[16,full] out=x", "train ~tune ~tracking",
    "train --cfg job", "eval run=r 'benchmark=[lab,math500]'", "train tracking.project=a,b",
    "lab out=pair", "train config=a,b.yaml", "train -c job", "train --config-dir=conf",
    "train --config-name=x", "train --multirun seed=0,1",
    "train seed=0,1 -m steps=3", "train task.source= pair.student.system=x", "compare a=. b=/",
    "train loss=[reverse_kl]", "init file=my.yaml pair=own",
]  # fmt: skip


def line(words):
    """The message for a command line; empty if it is taken."""
    command, *arguments = [each.strip("'") for each in words.split(" ")]
    try:
        typed.check(command, COMMANDS.get(command, COMMANDS["train"])[0], arguments)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("words", "fixed"), MISTAKES, ids=[each[0] for each in MISTAKES])
def test_a_first_mistake_gets_the_command_as_it_should_be(words, fixed):
    assert line(words).endswith(fixed), line(words)


@pytest.mark.parametrize("words", FINE)
def test_what_is_right_is_left_alone(words):
    assert line(words) == ""


def test_a_name_of_two_settings_is_asked_back():
    assert line("train temperature=0.5") == (
        "temperature=0.5: which one? there are loss.temperature, rollout.temperature"
    )


def test_every_name_from_elsewhere_belongs_to_a_command():
    known = {name for command, (schema, _) in COMMANDS.items()
             for name in typed.known.names(command, schema)}  # fmt: skip
    known |= {name.partition(".")[0] for name in known} | {*typed.known.taken("train")}
    assert set(typed.ELSEWHERE.values()) <= known


def test_mistakes_end_with_one_line_and_status_2_before_anything_is_loaded(tmp_path):
    for words in (["train", "--rollout_len=64"], ["train", "lr=1e-4"], ["bench", "repeats=1e1"],
                  ["train", "--config=my.yaml"]):  # fmt: skip
        done = esr(*words, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert ": esr " in done.stderr and not done.stdout and not list(tmp_path.iterdir())


def test_no_command_takes_in_silence_what_it_does_not_use():
    said = {words: typed.unused(words.split()[0], words.split()[1:]) for words in (
        "bench steps=3", "bench +rollout_len=64 watch.every=3", "probe tune.rank=3 pair=lab",
        "teacher task=lab pair=lab", "bench run_dir=x", "train steps=3", "eval limit=3",
    )}  # fmt: skip
    assert said["bench steps=3"] == [
        "note: steps=3: esr bench does not use it; repeats= is the number of timed steps"
    ]
    assert [len(each) for each in said.values()] == [1, 2, 1, 1, 0, 0, 0]
    for command, settings in typed.UNUSED.items():
        names = typed.known.names(command, COMMANDS[command][0])
        groups = {name.partition(".")[0] for name in names}
        assert set(settings) <= {*names, *groups}, command


def test_versions_are_printed_for_esr_and_for_each_command():
    for words in (["--version"], ["train", "--version"], ["version"]):
        done = esr(*words)
        assert re.match(r"esr \d+\.\d+\S*( \(commit \w+\+?\))?, python 3\.", done.stdout), done
        assert ", torch 2." in done.stdout and done.stdout.count("\n") == 1


def test_the_folder_of_results_has_one_name_and_the_old_one_is_taken(tmp_path):
    done = esr("report", "runs=.", "out=/proc/nowhere", cwd=tmp_path)
    assert done.returncode == 2 and "runs=.: holds no run" in done.stderr
    for command in ("eval", "bench", "probe", "report", "reproduce", "lab", "train"):
        names = typed.known.names(command, COMMANDS[command][0])
        assert "run_dir" in names and "out" not in names, command


def test_the_first_line_appears_before_torch_is_loaded(tmp_path):
    code = (
        "import builtins, sys\n"
        "from esr_cli.cli.main import main\n"
        "show = builtins.print\n"
        "def shown(*words, **how):\n"
        "    show(*words, **how)\n"
        "    sys.exit('torch' in sys.modules)\n"
        "builtins.print = shown\n"
        "sys.argv = ['esr', 'train', 'rollout=eager', '+rollout_len=4']\n"
        "main()\n"
    )
    done = interpreter("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"esr \d+\.\d+\S*: loading torch …\n", done.stdout), done.stdout
