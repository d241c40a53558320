"""Helpers for tests of training data: rows, chats, settings and tasks from files."""

from __future__ import annotations

import json
from pathlib import Path

from hydra import compose, initialize_config_dir
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from esr_cli.assembly import data
from esr_cli.base.files import conf_dir
from esr_cli.config import TrainConfig, gate
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.rows import Row

PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
WORDS = [f"word{i}" for i in range(15)]


def row(**values):
    return Row("file:1", 0, values)


def chat(template=PLAIN):
    """A chat whose tokens are bytes, so lengths can be counted by hand."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = models.BPE(vocab={sign: i for i, sign in enumerate(alphabet)}, merges=[])
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.chat_template = template
    return Chat(fast)


def settings(*overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        tree = compose("train", overrides=["+rollout_len=7", *overrides])
    return gate.read(tree, TrainConfig)


def load(folder: Path, *overrides, task="jsonl", files=("my.jsonl",), student=None, teacher=None):
    named = [f"task={task}", f"task.files=[{','.join(files)}]", f"data_dir={folder}"]
    config = settings(*named, *overrides)
    return data.load(config, student or chat(), teacher or chat())


def write(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
