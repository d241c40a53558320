"""Bad settings for `try_bad_input.py`: a list of directed ones, and random changes of good ones."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator, Sequence

DEEP = "[" * 3000
VALUES = (
    "nan", "inf", "-inf", "1e400", "-1", "0", "1e30", "99999999999999999999", "''", "null", "true",
    "[]", "[1,2]", "[[1]]", "{a:1}", "{}", "é", "'💥 \u202ex'", "'a\nb'", "'\x1b[31m'", "${seed}",
    "${oc.env:NOWHERE}", "${nope}", "${", "${.}", "'${oc.env:HOME}'", "./nowhere", "/dev/null", "/",
    ".", "..", "~nobody", "pipe", "folder", "odd.jsonl", "latin.jsonl", "x" * 5000, DEEP, "a b",
    "0x10", "1_000", "???", "[null]", "[a,a]", "[{a:1}]", "%s%d", "1,2", "range(3)", "choice(1,2)",
    "glob(*)", "\udcff", "1.5", "-0.0", "2147483648", "0.0000000001", "yes", "full", "auto", "a=b",
    "a:b", "esr:nowhere", "owner/name", "[1,[2,[3]]]", "'[not a list'", '"', "'", "\\", "(",
    "${a}}",
)  # fmt: skip

DIRECTED: Sequence[Sequence[str]] = [shlex.split(line) for line in r"""
train steps=0
train steps=1.5
train steps=1e3
train steps=[1]
train steps=99999999999999999999
train steps=null
train steps=
train =5
train ==
train steps
train +steps
train ~steps
train ~task
train ~nothing
train ++
train +
train -x
train --steps=3
train --cfg
train --cfg=all
train --config-name=nothing
train --config-dir=nowhere
train --config-path=nowhere
train --info=nothing
train --package=x
train --resolve
train --multirun --cfg=job
train --experimental-rerun=nowhere
train "a b=c"
train a=b=c
train a.b.c=1
train .=1
train ..a=1
train steps.a=1
train task.name.a=1
train task=
train task=null
train task=[lab,math]
train task=../task/lab
train task=3
train task@x=lab
train lm@pair.student=nothing
train pair=nothing
train pair=null
train pair={}
train pair.student=null
train pair.student={}
train pair.student=[1]
train pair.student.path=null
train "pair.student.path=''"
train pair.student.path=/
train pair.student.path=pipe
train pair.student.path=odd.jsonl
train pair.student.path=owner/name
train pair.student.path=esr:nothing
train pair.student.revision=nothing
train pair.teacher.chat_template=pipe
train pair.teacher.chat_template=/dev/zero
train pair.teacher.chat_template=folder
train pair.teacher.chat_template=latin.jsonl
train pair.student.chat_template=looping.jinja
train pair.student.chat_template=broken.jinja
train pair.student.chat_template=recursive.jinja
train pair.student.chat_template=large.jinja
train pair.student.family=nothing
train pair.student.shape.hidden_size=-1 pair.weights=random
train pair.student.shape={a:b} pair.weights=random
train pair.stop_tokens=[nothing]
train pair.context_tokens=1
train pair.max_response_tokens=99999999
train pair.dtype=float8
train seed=-1
train seed=nan
train seed=1e400
train "seed=${seed}"
train "seed=${oc.env:NOWHERE}"
train "seed=${nope"
train "seed=${nope}"
train "seed=${oc.decode:1}"
train "run_dir=${oc.env:NOWHERE}"
train run_dir=/proc/nowhere
train run_dir=/dev/null
train run_dir=odd.jsonl
train "run_dir='a\nb'"
train rollout=eager rollout.seeds=batch
train execution.rollouts=2 rollout.seeds=batch
train rollout_len=-1
train rollout_len=1,2
train +rollout_len=0.5
train rollout.temperature=-1
train rollout.temperature=nan
train rollout.top_p=2
train rollout.top_k=-1
train task=jsonl
train task=jsonl task.files=[]
train task=jsonl task.files=[nowhere.jsonl]
train task=jsonl task.files=[pipe] data_dir=.
train task=jsonl task.files=[/dev/zero]
train task=jsonl task.files=[folder] data_dir=.
train task=jsonl task.files=[odd.jsonl] data_dir=.
train task=jsonl task.files=[latin.jsonl] data_dir=.
train task=jsonl task.files=[null]
train task=jsonl task.files=[deep.jsonl] data_dir=.
train task=jsonl task.files=[odd.jsonl.gz] data_dir=.
train task=jsonl task.files=[odd.parquet] data_dir=.
train task.wording={a}
train "task.wording='{problem'"
train "task.wording='{problem.a}{0}'"
train "task.wording=''"
train benchmark=[]
train benchmark=null
train benchmark=[lab,lab]
train benchmark=[lab,nothing]
train benchmark=math500 data_dir=nowhere
train benchmark=math500 data_dir=odd.jsonl
train benchmark.lab.samples=0
train benchmark.lab.max_tokens=100000
train benchmark.lab.problems=0
train benchmark.lab.pass_at=[0]
train benchmark.lab.pass_at=[99]
train loss.temperature=0
train loss.by=[]
train loss=window loss.window_start=9 loss.window_end=2
train lengths=steps lengths.stages=[[0,1],[0,2]]
train lengths=steps lengths.stages=[1]
train tune.learning_rate=-1
train tune.beta1=2
train tune.rank=0 tune=lora
train tune=lora tune.dropout=1
train tune=full tune.dropout=0.1
train tune=lora tune.master=none
train tune=lab_full tune.warmup_share=0.1
train task.sample.rows=3
train task=math task.rows=2 task.sample.rows=3
train tune=lora tune.targets=[nothing]
train tune=lora tune.targets=[]
train execution.device=nothing
train execution.device=cuda:99
train execution.teacher_device=cuda
train resume=nowhere
train resume=folder
train resume=odd.jsonl
train "resume=''"
train resume=/
train tracking.mode=nothing
train tracking=nothing
train tracking=[wandb,nothing]
train tracking=none tracking.model=true
train tracking.space=me/runs
train hydra.mode=nothing
train hydra.job=null
train hydra.run.dir=/proc/nowhere
train hydra=nothing
train hydra/launcher=nothing
train hydra/sweeper=nothing
train hydra.job_logging=null
train -m
train -m seed=
train -m seed=0,nan
train -m seed=range(0)
train -m "seed=range(1,"
train -m "seed=choice()"
train -m +sweep=nothing
train -m +cluster=nothing
train -m run_dir=/proc/nowhere seed=0,1
train -m steps=0,0
eval model=nowhere
eval model=null
eval model=esr:student run=folder
eval run=nowhere
eval run=folder
eval generations=nowhere
eval generations=pipe
eval generations=odd.jsonl
eval generations=latin.jsonl
eval generations=folder
eval generations=deep.jsonl
eval benchmark=gone.yaml
eval benchmark=[lab,folder.yaml]
eval benchmark=[]
train pair=own
eval limit=0
eval limit=-1
eval context_tokens=1
eval run_dir=/dev/null
eval checkpoints=nothing
compare a=nowhere b=nowhere
compare a=folder b=folder
compare a=odd.jsonl b=.
compare a=. b=. a_step=x
compare
report runs=nowhere
report runs=odd.jsonl
report runs=folder
report run_dir=/proc/nowhere runs=folder
report title=[1] runs=folder
probe probe=nothing
probe probe=[]
probe run=nowhere
probe run=folder
probe prompts=0
probe source=nothing
reproduce scale=nothing
reproduce only=[nothing]
reproduce seeds=[]
reproduce seeds=[a]
reproduce jobs=0
reproduce overrides=[nothing=1]
reproduce run_dir=/dev/null list=false
bench rollout_lens=[]
bench rollout_lens=[0]
bench engines=[nothing]
bench peer=nothing
bench repeats=0
lab run_dir=/proc/nowhere/x
lab width=0
lab heads=7
lab layers=-1
lab modulus=1
lab chain_length=0
lab batch=0
lab learning_rate=nan
check resume=x
check pair.student.path=folder
trian
train extra words
'' a=1
-m
--version
completion
completion words train
completion words train x notanumber
completion words nothing x 2
completion words train run_dir=/root/ 2
""".strip().splitlines()]  # fmt: skip


def mutated(count: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Random commands with one or two wrong settings."""
    from esr_cli.cli import known
    from esr_cli.cli.main import COMMANDS

    rng = random.Random(seed)
    weights = [12 if name == "train" else 4 if name in ("eval", "probe") else 1
               for name in COMMANDS]  # fmt: skip
    for _ in range(count):
        [command] = rng.choices(list(COMMANDS), weights)
        keys = known.names(command, COMMANDS[command][0])
        given = []
        for _ in range(rng.choice((1, 1, 2))):
            key, value = rng.choice(keys), rng.choice(VALUES)
            if rng.random() < 0.1:
                key = _misspelt(key, rng)
            given.append(f"{rng.choice(('', '', '', '', '+', '++', '~'))}{key}={value}")
        if rng.random() < 0.03:
            given.append("-m")
        yield command, given


def _misspelt(key: str, rng: random.Random) -> str:
    at = rng.randrange(len(key))
    return rng.choice(
        (key[:at] + key[at + 1 :], key[:at] + "x" + key[at:], f"{key}.a", f"a.{key}", key.upper())
    )
