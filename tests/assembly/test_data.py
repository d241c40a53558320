"""Training data from files: ids, filters, report and errors of `assembly.data`."""

from __future__ import annotations

import os

import pytest
from training_data import PLAIN, WORDS, chat, load, settings, write

from esr_cli.assembly import data
from esr_cli.check import limits
from esr_cli.config import ConfigError
from esr_cli.config.finding import refuse


@pytest.fixture(autouse=True)
def no_data(request, monkeypatch):
    if "real" not in request.node.name:
        monkeypatch.delenv("ESR_DATA", raising=False)


def test_ids_do_not_depend_on_other_rows_position_or_file(tmp_path):
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


def test_the_fingerprint_changes_with_questions_and_templates(tmp_path):
    asked = [{"prompt": f"a {i}"} for i in range(3)]
    write(tmp_path / "a.jsonl", asked)
    first = data.fingerprint(load(tmp_path, files=["a.jsonl"]))
    assert data.fingerprint(load(tmp_path, files=["a.jsonl"])) == first
    write(tmp_path / "a.jsonl", [*asked[:2], {"prompt": "another"}])
    found = {first, data.fingerprint(load(tmp_path, files=["a.jsonl"]))}
    write(tmp_path / "a.jsonl", asked)
    found.add(data.fingerprint(load(tmp_path, "task.wording='say {problem}'", files=["a.jsonl"])))
    assert len(found) == 3


def test_kept_duplicates_have_unique_ids(tmp_path):
    write(tmp_path / "my.jsonl", [{"prompt": "a"}, {"prompt": "b"}, {"prompt": "a"}])
    found = load(tmp_path, "task.drop_duplicates=false").questions
    first = found[0].id
    assert [each.id for each in found] == [first, found[1].id, f"{first}-2"]


def test_different_rows_with_the_same_id_are_refused(tmp_path):
    write(tmp_path / "my.jsonl", [{"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}])
    with pytest.raises(ConfigError, match="id 1 is used by two different rows"):
        load(tmp_path)


def test_every_row_is_counted_once(tmp_path):
    sentence = " ".join(WORDS)
    # The benchmark's file name, below data_dir.
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
        "tools: 6 rows, 1 unusable, 1 duplicate, 1 in math500, 1 too long; 2 prompts"
    )
    assert [len(each.tools) for each in task.questions] == [0, 1]
    off = ["task.ngram=0", "task.drop_duplicates=false", wording]
    task = load(tmp_path, *off, task="tools")
    assert task.report == "tools: 7 rows, 1 unusable, 1 too long; 5 prompts"


def test_the_instruction_is_no_overlap(tmp_path):
    wording = "{problem} " + " ".join(WORDS)
    write(tmp_path / "bench.jsonl", [{"problem": " ".join(WORDS), "answer": "1"}])
    write(tmp_path / "my.jsonl", [{"prompt": "Hi"}])
    task = load(tmp_path, f"task.wording='{wording}'", "task.against=[bench.jsonl,gone.jsonl]")
    assert task.report == (
        "jsonl: 1 row, 0 duplicates, 0 in benchmarks, 0 too long; 1 prompt; "
        "not compared with gone (not in data_dir)"
    )
    assert task.questions[0].messages[0]["content"] == wording.replace("{problem}", "Hi")


def test_the_runs_own_benchmarks_are_compared_with_too(tmp_path):
    asked = " ".join(WORDS)
    write(tmp_path / "gsm8k_test.jsonl", [{"question": asked, "answer": "#### 1"}])
    write(tmp_path / "my.jsonl", [{"prompt": asked}, {"prompt": "Hi"}])
    task = load(tmp_path, "task.against=[]", "benchmark=gsm8k")
    assert "1 in gsm8k_test" in task.report


def test_a_folder_of_training_and_of_a_benchmark_is_compared_by_its_splits(tmp_path):
    for split in ("train", "test"):
        asked = " ".join(f"{split}{each}" for each in range(4))
        row = {"prompt": asked, "problem": asked, "answer": "1", "id": split}
        write(tmp_path / "data" / f"{split}.jsonl", [row])
    files = ["task.files=[data]", "task.ngram=3", "benchmark=gsm8k", "benchmark.gsm8k.files=[data]"]
    task = load(tmp_path, *files, task="jsonl")
    assert len(task.questions) == 1 and "0 in benchmarks" in task.report
    task = load(tmp_path, *files, "task.hub.split=all", task="jsonl")
    assert len(task.questions) == 1 and "1 in data" in task.report


def test_a_prompt_may_be_as_long_as_allowed_for_either_model(tmp_path):
    # All have 40 bytes: 40 letters, 20 letters, and 13 ligatures that NFKC splits in two.
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
    # The lab pair has 256 tokens of context, including 128 for the response.
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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": ', "broken row, not JSON"),
        ('{"text": "x"}', "none of prompt, messages, conversations; it has text: rename one"),
        ('{"prompt": 3}', "field 'prompt' is 3; it must be a list"),
        ('{"prompt": " "}', "it must be a string"),
        ('{"messages": "x"}', "field 'messages' is x; it must be a list"),
        ('{"messages": []}', "no turn of the user; add it"),
        ('{"conversations": [{"from": "gpt", "value": "x"}]}', "no turn of the user; add it"),
        ('{"messages": [{"role": "me", "content": "x"}]}', "a turn that is not"),
        ('{"messages": [{"role": "user"}]}', "a turn without a text"),
        ('{"messages": [{"role": "user", "content": [3]}]}', "a turn without a text"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}',
            "ends with a turn of the system",
        ),
        (
            '{"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": '
            '"x"}]}]}',
            "a part of type image; models read text alone here",
        ),
        ('{"prompt": "x", "images": ["a.png"]}', "field 'images': models read text alone here"),
        ('{"prompt": "x", "tools": "{"}', "field 'tools' holds no JSON list"),
        ('{"prompt": "x", "tools": [{"parameters": {}}]}', "an entry without a name"),
        ('{"prompt": "x", "id": [1]}', "field 'id' must be"),
    ],
)
def test_a_broken_row_is_refused_by_its_line(tmp_path, line, message):
    (tmp_path / "my.jsonl").write_text('{"prompt": "a"}\n\n' + line + '\n{"prompt": "b"}\n')
    with pytest.raises(ConfigError) as refused:
        load(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path}/my.jsonl:3: ")
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_custom_file_is_found_in_the_working_folder_and_below_data_dir(tmp_path, monkeypatch):
    write(tmp_path / "here" / "my.jsonl", [{"prompt": "here"}])
    write(tmp_path / "data" / "my.jsonl", [{"prompt": "there"}])

    def asked(files):
        found = load(tmp_path / "data", "prompts_per_step=1", files=files)
        return found.questions[0].messages[0]["content"]

    assert asked(["my.jsonl"]) == "there"
    assert asked([f"{tmp_path}/here/my.jsonl"]) == "here"
    monkeypatch.chdir(tmp_path / "here")
    assert asked(["my.jsonl"]) == "here"
    with pytest.raises(
        ConfigError, match=r"gone\.jsonl: no such file; give a path that exists, or a path below "
    ):
        asked(["gone.jsonl"])
    with pytest.raises(ConfigError, match=r"task\.files=\[\]: name your own"):
        load(tmp_path, files=[])


def test_a_data_set_is_downloaded_if_its_file_is_missing(tmp_path):
    # `datasets` accepts a local folder with a repository layout as a name.
    values = [{"problem": f"p {i}", "solution": "\\boxed{1}"} for i in range(3)]
    write(tmp_path / "hub" / "train.jsonl", values)
    task = load(
        tmp_path, f"task.hub.path={tmp_path}/hub", "task.rows=2", task="math", files=["gone.jsonl"]
    )
    assert task.report.startswith("math: 2 rows, 0 duplicates")
    assert [each.reference for each in task.questions] == ["1", "1"]


REAL = pytest.mark.skipif(not os.environ.get("ESR_DATA"), reason="ESR_DATA names no folder")
ROOMY = ("pair.context_tokens=4096", "pair.max_response_tokens=1024")


def real(*overrides):
    return data.load(settings(*ROOMY, *overrides), chat(), chat())


@REAL
def test_real_gsm8k():
    task = real("task=gsm8k")
    assert task.report == (
        "math: 7,473 rows, 0 duplicates, 4 in gsm8k_test, 0 too long; 7,469 prompts"
    )
    assert all(each.reference for each in task.questions)


@REAL
def test_real_glaive():
    task = real("task=tools", "task.files=[glaive_toolcall_sample.json]")
    assert task.report.startswith("tools: 300 rows, 38 duplicates, 0 in benchmarks")
    unfiltered = real(
        "task=tools", "task.files=[glaive_toolcall_sample.json]", "task.drop_duplicates=false",
        "task.max_prompt_tokens=null", "pair.context_tokens=100000",
    )  # fmt: skip
    assert len(unfiltered.questions) == 300
    assert sum(each.reference is not None for each in unfiltered.questions) == 106
    assert sum(bool(each.tools) for each in unfiltered.questions) == 191


@REAL
@pytest.mark.parametrize("file", ["math500.jsonl", "gsm8k_test.jsonl"])
def test_real_benchmarks_overlap_with_themselves(file):
    with pytest.raises(ConfigError, match="0 too long; 0 prompts"):
        real("task=math", f"task.files=[{file}]", "task.drop_duplicates=false")
