"""Training data: rows of every format, what is filtered out, and the order of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import SHORT, same_end
from hydra import compose, initialize_config_dir
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from esr_cli.assembly import data
from esr_cli.base.files import conf_dir
from esr_cli.check import limits
from esr_cli.config import ConfigError, TrainConfig, gate
from esr_cli.config.finding import refuse
from esr_cli.tasks import filters
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.rows import Row
from esr_cli.tasks.training import DataTask, Manner, worded
from esr_cli.train import command as train
from esr_cli.types import Question

PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
WORDS = [f"word{i}" for i in range(15)]


def row(**values):
    return Row("file:1", 0, values)


def chat(template=PLAIN):
    """A token is a byte, so lengths can be counted by hand."""
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


@pytest.fixture(autouse=True)
def no_data(request, monkeypatch):
    if "real" not in request.node.name:
        monkeypatch.delenv("ESR_DATA", raising=False)


def load(folder: Path, *overrides, task="jsonl", files=("my.jsonl",), student=None, teacher=None):
    named = [f"task={task}", f"task.files=[{','.join(files)}]", f"data_dir={folder}"]
    config = settings(*named, *overrides)
    return data.load(config, student or chat(), teacher or chat())


def write(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


# Formats.


def test_ids_do_not_depend_on_company_place_or_file(tmp_path):
    a = [{"prompt": f"a {i}"} for i in range(3)]
    b = [{"prompt": "b", "id": "mine"}, {"prompt": "b again"}]
    write(tmp_path / "a.jsonl", a)
    write(tmp_path / "b.jsonl", b)

    def ids(*overrides, files):
        task = load(tmp_path, *overrides, files=files)
        return {each.messages[-1]["content"]: each.id for each in task.questions}

    whole = ids(files=["a.jsonl", "b.jsonl"])
    assert whole["b"] == "mine" and len(set(whole.values())) == 5
    assert ids(files=["b.jsonl", "a.jsonl"]) == whole
    write(tmp_path / "a.jsonl", [{"prompt": "x" * 500}, *a[1:], a[1]])
    fewer = ids(files=["a.jsonl", "b.jsonl"])
    assert fewer == {text: name for text, name in whole.items() if text != "a 0"}


def test_rows_that_are_meant_to_stand_twice_have_ids_of_their_own(tmp_path):
    write(tmp_path / "my.jsonl", [{"prompt": "a"}, {"prompt": "b"}, {"prompt": "a"}])
    found = load(tmp_path, "task.drop_duplicates=false").questions
    first = found[0].id
    assert [each.id for each in found] == [first, found[1].id, f"{first}-2"]


def test_two_rows_may_not_claim_one_id(tmp_path):
    write(tmp_path / "my.jsonl", [{"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}])
    with pytest.raises(ConfigError, match="id 1 stands in two different rows"):
        load(tmp_path)


# Filters.


def test_every_row_is_counted_once(tmp_path):
    sentence = " ".join(WORDS)
    # The same file name as the benchmark's, below data_dir.
    write(tmp_path / "math500.jsonl", [{"problem": f"Say {sentence}!", "answer": "1"}])
    turn = [{"from": "human", "value": "Hi"}]
    written = [
        {"conversations": turn, "tools": ""},
        {"conversations": [{"from": "human", "value": " Hi\n"}], "tools": "[]"},
        {"conversations": turn, "tools": '[{"name": "f"}]'},
        {"conversations": [{"from": "gpt", "value": "Hi"}], "tools": ""},
        {"conversations": [{"from": "human", "value": sentence.upper()}], "tools": ""},
        {"conversations": [{"from": "human", "value": "x" * 129}], "tools": ""},
        {"conversations": [{"from": "human", "value": "beyond"}], "tools": ""},
    ]
    write(tmp_path / "my.jsonl", written)
    wording = "task.wording_in_text='{functions}{problem}'"
    task = load(tmp_path, "task.rows=6", "task.against=[math500.jsonl]", wording, task="tools")
    assert task.report == (
        "tools: 6 rows, 1 unusable, 1 duplicates, 1 in math500, 1 too long; 2 prompts"
    )
    assert [len(each.tools) for each in task.questions] == [0, 1]
    off = ["task.ngram=0", "task.drop_duplicates=false", wording]
    task = load(tmp_path, *off, task="tools")
    assert task.report == "tools: 7 rows, 1 unusable, 1 too long; 5 prompts"


def test_thirteen_words_in_a_row_are_a_hit_and_twelve_are_not():
    overlap = filters.Overlap(13)
    overlap.learn("bench", " ".join(WORDS))
    assert overlap.find(f"So: {', '.join(WORDS[1:14])}?") == "bench"
    assert overlap.find(f"So: {' '.join(WORDS[1:13])} tomorrow") is None
    assert overlap.find(" ".join([*WORDS[:7], "red", *WORDS[7:]])) is None
    # Fewer words than that are the same question only as a whole.
    overlap.learn("short", "Compute $\\sin 60^\\circ$.")
    assert overlap.find("compute \\sin 60 ^ \\circ") == "short"
    assert overlap.find("Compute \\sin 60^\\circ + 1") is None
    overlap.learn("signs", "???")
    assert overlap.find("!") is None


def test_the_instruction_is_no_overlap(tmp_path):
    wording = "{problem} " + " ".join(WORDS)
    write(tmp_path / "bench.jsonl", [{"problem": " ".join(WORDS), "answer": "1"}])
    write(tmp_path / "my.jsonl", [{"prompt": "Hi"}])
    task = load(tmp_path, f"task.wording='{wording}'", "task.against=[bench.jsonl,gone.jsonl]")
    assert task.report == (
        "jsonl: 1 rows, 0 duplicates, 0 in benchmarks, 0 too long; 1 prompts; "
        "not compared with gone (not in data_dir)"
    )
    assert task.questions[0].messages[0]["content"] == wording.replace("{problem}", "Hi")


def test_the_runs_own_benchmarks_are_compared_with_too(tmp_path):
    asked = " ".join(WORDS)
    write(tmp_path / "gsm8k_test.jsonl", [{"question": asked, "answer": "#### 1"}])
    write(tmp_path / "my.jsonl", [{"prompt": asked}, {"prompt": "Hi"}])
    task = load(tmp_path, "task.against=[]", "benchmark=gsm8k")
    assert "1 in gsm8k_test" in task.report


def test_a_prompt_may_be_as_long_as_allowed_for_either_model(tmp_path):
    # All have 40 bytes, in 40 letters, in 20, and in 13 that some tokenizers write as two.
    texts = ["x" * 40, "é" * 20, "ﬁ" * 13 + "x"]
    write(tmp_path / "my.jsonl", [{"prompt": text} for text in texts])
    longer = chat(PLAIN + "!")

    def left(limit, **who):
        return len(load(tmp_path, f"task.max_prompt_tokens={limit}", **who).questions)

    assert left(40) == left(41, student=longer) == left(41, teacher=longer) == 3
    for limit, who in ((39, {}), (40, {"student": longer}), (40, {"teacher": longer})):
        with pytest.raises(ConfigError, match="3 too long; 0 prompts"):
            left(limit, **who)


def test_the_length_counts_the_wording_and_leaves_room_for_the_response(tmp_path):
    # The lab pair: 256 tokens, of which 128 are the response's.
    write(tmp_path / "my.jsonl", [{"prompt": "x" * 127}, {"prompt": "y" * 128}])
    task = load(tmp_path, "task.wording='{problem}!'")
    assert [each.messages[0]["content"][0] for each in task.questions] == ["x"]
    refuse(limits.context(settings(), {}, task.train(0, 1)))
    with pytest.raises(ConfigError, match=r"max_prompt_tokens=129: .*; lower it to 128"):
        load(tmp_path, "task.max_prompt_tokens=129")


def test_nothing_left_is_refused(tmp_path):
    write(tmp_path / "my.jsonl", [{"prompt": "x" * 300}])
    with pytest.raises(ConfigError, match=r"no prompt is left .*1 too long.*max_prompt_tokens"):
        load(tmp_path)
    (tmp_path / "my.jsonl").write_text("\n")
    with pytest.raises(ConfigError, match=r"no prompt is left \(jsonl: 0 rows"):
        load(tmp_path)


# Order.


def data_task(count, seed=0, backwards=False):
    questions = [Question(str(i), ({"role": "user", "content": "?"},), None) for i in range(count)]
    return DataTask(questions[::-1] if backwards else questions, Manner(chat(), chat()), seed)


def ids(task, step, count):
    return [each.id for each in task.train(step, count)]


def test_every_question_comes_once_an_epoch_and_epochs_differ():
    task = data_task(10)
    told = [name for step in range(10) for name in ids(task, step, 3)]
    epochs = [told[start : start + 10] for start in (0, 10, 20)]
    assert all(sorted(epoch) == sorted(map(str, range(10))) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_order_follows_from_seed_step_and_count_alone():
    told = [ids(data_task(10), step, 3) for step in range(10)]
    resumed = data_task(10)
    assert [ids(resumed, step, 3) for step in (9, 4, 3)] == [told[9], told[4], told[3]]
    assert [ids(data_task(10, backwards=True), step, 3) for step in range(10)] == told
    assert [ids(data_task(10, seed=1), step, 3) for step in range(10)] != told


def test_one_row_less_does_not_move_the_others():
    whole, fewer = ids(data_task(10), 0, 10), ids(data_task(9), 0, 9)
    assert fewer == [name for name in whole if name != "9"]


def test_a_step_cannot_ask_for_more_than_there_is():
    with pytest.raises(ConfigError, match=r"prompts_per_step=4: the task has 3 prompts; lower"):
        data_task(3).train(0, 4)


def test_the_wording_goes_around_the_last_turn_of_the_user():
    turns = tuple(
        {"role": role, "content": text}
        for role, text in (("user", "a"), ("assistant", "b"), ("user", "c{}"), ("tool", "d"))
    )
    found = worded(Question("q", turns, None), "<{problem}>")
    assert [turn["content"] for turn in found.messages] == ["a", "b", "<c{}>", "d"]


# The command line.


@pytest.mark.parametrize("path", sorted((conf_dir() / "task").glob("*.yaml")), ids=str)
def test_every_task_composes(path):
    config = settings(f"task={path.stem}")
    assert config.task.name == "lab" or config.task.ngram == 13


def test_a_resumed_run_on_ones_own_prompts_equals_an_unbroken_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chain = "Q : start 3 ; a + 2 ; b * 5 ; find b ?"
    write(tmp_path / "my.jsonl", [{"prompt": chain.replace("3", str(i))} for i in range(7)])
    mine = [
        "task=jsonl", "task.files=[my.jsonl]", "rollout=eager", "execution=inline",
        "tracking=none", "tune.schedule=constant", "eval_every=2", *SHORT[1:],
    ]  # fmt: skip

    def run(*overrides):
        train.run(settings(*mine, *overrides), [*mine, *overrides])

    run("steps=4", "run_dir=whole")
    run("steps=2", "run_dir=parts")
    run("steps=4", "resume=parts")
    same_end(Path("whole"), Path("parts"))
    told = "jsonl: 7 rows, 0 duplicates, 0 too long; 7 prompts; no benchmark lies in data_dir"
    assert told in Path("whole/esr.log").read_text()
    with pytest.raises(ConfigError, match=r"prompts_per_step=8: the task has 7 prompts"):
        run("prompts_per_step=8")


# The real files.
