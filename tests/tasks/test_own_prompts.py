"""Custom prompts as TRL, OpenAI and ShareGPT write them, and tables of them."""

from __future__ import annotations

import json
import os
from collections import Counter

import datasets
import pytest
from training_data import chat, load, row, write

from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig, ConfigError
from esr_cli.tasks import own
from esr_cli.tasks.filters import Duplicates
from esr_cli.tasks.rows import read
from esr_cli.types import Question

ASKED = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"})
ANSWER = {"role": "assistant", "content": "Because."}
TURNS = [*ASKED, ANSWER]
SPELT = [
    {"prompt": list(ASKED)},
    {"prompt": list(ASKED), "completion": [ANSWER]},
    {"messages": TURNS},
    {"messages": [{**turn, "weight": 1} for turn in TURNS]},
    {"messages": [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]}
                  for turn in TURNS]},
    {"conversations": [
        {"from": {"user": "human", "assistant": "gpt"}.get(turn["role"], "system"),
         "value": turn["content"]} for turn in TURNS
    ]},
    {"conversations": {"from": ["system", "Human", "GPT"],
                       "value": [turn["content"] for turn in TURNS]}},
    {"prompt": None, "messages": TURNS, "conversations": None},
]  # fmt: skip


def asked(**values):
    counts = Counter()
    return own.training_question(row(**values), counts), dict(+counts)


@pytest.mark.parametrize("values", SPELT)
def test_one_prompt_in_every_spelling(values):
    assert asked(**values)[0].messages == ASKED


def test_a_prompt_may_be_a_text_with_an_id_and_a_reference():
    found, counts = asked(prompt="Hi", id=7, reference={"a": 1})
    assert found == Question("7", ({"role": "user", "content": "Hi"},), {"a": 1}) and not counts


def test_only_answers_at_the_end_are_dropped_and_counted():
    later = {"role": "user", "content": "And then?"}
    found, counts = asked(messages=[*TURNS, later, ANSWER, ANSWER])
    assert found.messages == (*TURNS, later) and counts == {own.DROPPED: 1}
    assert asked(messages=[*TURNS, later])[1] == {}


def test_other_fields_are_ignored_and_counted():
    """Fields of turns too; columns of a table that a row does not fill are none."""
    turns = [{**ASKED[1], "weight": 1, "name": None}]
    _, counts = asked(messages=turns, prompt_id="x", source=None, score=0)
    assert counts == {"ignored prompt_id": 1, "ignored score": 1, "ignored messages.weight": 1}
    assert asked(prompt=turns, messages=turns)[1]["ignored messages"] == 1


def test_calls_of_functions_reach_the_chat_template():
    """OpenAI writes their arguments as a text, which templates would quote again."""
    call = {"id": "c1", "type": "function",
            "function": {"name": "add", "arguments": '{"a": 1}'}}  # fmt: skip
    turns = [
        ASKED[1], {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "3", "tool_call_id": "c1"}, {**ANSWER, "tool_calls": None},
    ]  # fmt: skip
    found, _ = asked(messages=turns, tools=json.dumps([{"name": "add"}]))
    assert [turn["role"] for turn in found.messages] == ["user", "assistant", "tool"]
    template = (
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
        "{{ m.tool_call_id or '' }}|{% endfor %}"
        "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
    )
    assert chat(template).text(found) == 'Why?|add{"a": 1}|3c1|add'
    other = asked(messages=[turns[0], {**turns[1], "tool_calls": [{"name": "sub"}]}, turns[2]])[0]
    seen = Duplicates()
    assert not seen.met(found) and not seen.met(other) and seen.met(found)


def test_the_report_counts_what_is_left_out(tmp_path):
    later = [*TURNS, {"role": "user", "content": "And then?"}]
    write(tmp_path / "my.jsonl", [
        {"messages": TURNS, "source": "a"}, {"messages": TURNS[:2], "source": "b", "n": 1},
        {"conversations": [{"from": "human", "value": "Hm?"}, {"from": "gpt", "value": "x"}]},
        {"prompt": later},
    ])  # fmt: skip
    task = load(tmp_path)
    assert task.report == (
        "jsonl: 4 rows, 2 answers dropped, 1 duplicate, 0 too long; 3 prompts; "
        "ignored: source (2), n (1); no benchmark in data_dir to compare with"
    )
    assert task.questions[-1].messages == tuple(later)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The same prompts as Parquet, as Arrow, and as a folder of `Dataset.save_to_disk`."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [{"messages": TURNS, "source": "a"}, {"messages": list(ASKED), "source": None}]
    made = datasets.Dataset.from_list(rows)
    made.to_parquet(folder / "my[1].parquet")
    made.save_to_disk(folder / "saved")
    (folder / "my.arrow").write_bytes((folder / "saved/data-00000-of-00001.arrow").read_bytes())
    (folder / "saved" / "cache-1.arrow").write_bytes(b"other")
    return folder


@pytest.mark.parametrize("name", ["my[1].parquet", "my.arrow", "saved"])
def test_a_table_holds_the_prompts_that_lines_hold(tables, tmp_path, monkeypatch, name):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    task = load(tables, "task.drop_duplicates=false", files=(f"'{name}'",))
    assert [each.messages for each in task.questions] == [ASKED, ASKED]
    assert "2 rows, 1 answer dropped" in task.report and "ignored: source (1)" in task.report
    assert not (tmp_path / "cache").exists(), "reading a file fills no cache"


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_broken_table_is_one_line(tmp_path, name):
    path = tmp_path / name
    for content in (b"", b"PAR1", b"\xff" * 99):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"a\.\w+: cannot be read \(.*\); fetch it") as caught:
            read(path)
        assert "\n" not in str(caught.value)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is a pipe"):
        read(path)


@pytest.mark.parametrize(("names", "split", "taken", "report"), [
    (["train-00000-of-00002", "train-00001-of-00002", "test-0", "extra"], "train", [0, 1],
     "train-00000-of-00002.jsonl, train-00001-of-00002.jsonl, without extra.jsonl, test-0.jsonl"),
    (["my_training", "my.dev", "latest"], "train", [0],
     "my_training.jsonl, without latest.jsonl, my.dev.jsonl"),
    (["a", "b", "eval"], "train", [0, 1], "a.jsonl, b.jsonl, without eval.jsonl"),
    (["a", "b", "c", "d"], "train", [0, 1, 2, 3], "a.jsonl, b.jsonl, c.jsonl, 1 more"),
    (["train", "valid", "test"], "validation", [1],
     "valid.jsonl, without test.jsonl, train.jsonl"),
    (["train_sft", "train_gen"], "train_sft", [0], "train_sft.jsonl, without train_gen.jsonl"),
    (["train", "test", "val"], "train[:9]+test", [0, 1],
     "test.jsonl, train.jsonl, without val.jsonl"),
    (["validation", "more"], "dev", [0], "validation.jsonl, without more.jsonl"),
    (["train", "test"], "all", [0, 1], "test.jsonl, train.jsonl"),
    (["train", "test"], "", [0, 1], "test.jsonl, train.jsonl"),
])  # fmt: skip
def test_of_a_folder_the_files_of_the_split_are_read_and_named(
    tmp_path, names, split, taken, report
):
    for index, name in enumerate(names):
        write(tmp_path / "data" / f"{name}.jsonl", [{"prompt": f"{index}"}])
    task = load(tmp_path, f"task.hub.split='{split}'", files=["data"])
    asked = sorted(int(each.messages[0]["content"]) for each in task.questions)
    assert asked == taken and f"; from data: {report}; " in task.report


def test_a_folder_without_the_split_is_refused_and_a_benchmark_takes_its_test_files(tmp_path):
    for index, name in enumerate(("validation", "test")):
        row = {"problem": f"{index}", "answer": f"{index}", "id": f"{index}"}
        write(tmp_path / "data" / f"{name}.jsonl", [row])
    message = "holds no file of the split train, only test.jsonl, validation.jsonl; name the files"
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, files=["data"])
    benchmark = BenchmarkConfig("math", files=["data"])
    assert [each.id for each in catalog.load("mine", benchmark, str(tmp_path)).questions] == ["1"]


def test_a_folder_without_rows_is_refused(tmp_path):
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"holds no file of rows \(.jsonl, .json, .parquet"):
        read(tmp_path)


def test_a_data_set_of_the_hub_has_splits(tmp_path):
    # `datasets` accepts a local folder with a repository layout as a name.
    write(tmp_path / "hub" / "train.jsonl", [{"prompt": "a"}])
    write(tmp_path / "hub" / "test.jsonl", [{"prompt": "b"}, {"prompt": "c"}])
    hub = f"task.hub.path={tmp_path}/hub"
    found = load(tmp_path, hub, "task.hub.split=test", files=()).questions
    assert [each.messages[0]["content"] for each in found] == ["b", "c"]
    with pytest.raises(ConfigError, match=r"hub by name, split gone: .*gone") as caught:
        load(tmp_path, hub, "task.hub.split=gone", files=())
    assert "\n" not in str(caught.value)
