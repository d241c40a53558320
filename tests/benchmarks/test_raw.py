"""Raw continuations of code: their prompts, where they are cut, and what is graded."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest
from conftest import read
from tokenizers.processors import TemplateProcessing

from esr_cli.assembly import preflight
from esr_cli.benchmarks import catalog
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.cutting import cut
from esr_cli.benchmarks.exam import Exam, judge
from esr_cli.benchmarks.responses import for_benchmark
from esr_cli.config import BenchmarkConfig, ConfigError, EvalConfig
from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.tasks import code
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.rows import Row
from esr_cli.types import Prompt, Rollout, Sampling

PROMPT = '\ndef twice(x):\n    """Doubles x."""\n'
ROW = {
    "task_id": "T/0", "prompt": PROMPT, "entry_point": "twice", "atol": 0,
    "canonical_solution": "    return 2 * x\n", "base_input": [[1], [4]], "plus_input": [],
}  # fmt: skip
STOPS = ["\nclass", "\ndef", "\n#", "\nif __name__", "\nprint("]
BODY = "    return x + x\n"
HELPER = "    return more(x)\n\ndef more(x):\n    return 2 * x\n"
IN_TEXT = "    a = [\n        # two\n        x,\n    ]\n    return 2 * a[0]\n"


def settings(name, *overrides):
    given = (f"benchmark={name}", "model=x", *overrides)
    return read(*given, command="eval", schema=EvalConfig).benchmark[name]


def benchmark(stops=STOPS, **more):
    config = BenchmarkConfig(kind="code", prompt="raw", stop_texts=stops, **more)
    return Benchmark("t", config, [code.question(Row("f:1", 0, ROW), "humaneval", False, None)])


@pytest.mark.parametrize(
    "template", [None, "{% for m in messages %}<bos>{{ m.content }}{% endfor %}"]
)
@pytest.mark.parametrize("system", [None, "Brief."])
def test_a_raw_prompt_is_the_code_after_the_tokenizers_own_start(template, system):
    tokenizer = bytes_tokenizer()
    tokenizer.chat_template = template
    start = TemplateProcessing(single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)])
    tokenizer.backend_tokenizer.post_processor = start
    [prompt] = preflight.prompts_of(benchmark(), Chat(tokenizer, system))
    bare = bytes_tokenizer()(PROMPT.lstrip("\n"), add_special_tokens=False).input_ids
    assert tokenizer.decode(bare) == PROMPT[1:]
    assert prompt.student_ids == prompt.teacher_ids == (1, *bare)
    [question] = benchmark().questions
    assert question.reference.prompt == PROMPT[1:], "the program begins with the prompt as read"


def test_a_special_token_in_raw_code_is_text():
    row = {**ROW, "prompt": 'def f(x):\n    """Adds <eos>."""'}
    question = code.question(Row("f:1", 0, row), "humaneval", False, None)
    ids = Chat(bytes_tokenizer()).encode(question)
    assert not {1, 2} & set(ids) and bytes_tokenizer().decode(ids) == row["prompt"] + "\n"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"{BODY}\ndef g():\n    pass", BODY),
        (f"{BODY}# Test\nprint(twice(1))", BODY[:-1]),
        (f"{BODY}x = 1\nprint(x)\nclass A:", f"{BODY}x = 1"),
        (f'{BODY}if __name__ == "__main__":', BODY[:-1]),
        (IN_TEXT, IN_TEXT), ("def f(): pass", "def f(): pass"), ("\ndef f(): pass", ""), ("", ""),
    ],
)  # fmt: skip
def test_a_response_is_cut_before_the_first_stop_text(text, kept):
    assert cut(text, STOPS) == cut(text, STOPS[::-1]) == kept
    assert cut(text, []) == text


def asked(text, finish, stops=STOPS):
    """The response of a rollout with the text, and the number of its tokens."""
    tokenizer = bytes_tokenizer()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    exam = Exam(benchmark(stops), [], Sampling(99), tokenizer)
    rollout = Rollout(Prompt("T/0", "", (), ()), 0, tuple(ids), (0.0,) * len(ids), finish)
    return exam.response_of(rollout), len(ids)


def test_a_cut_response_has_the_tokens_of_an_engine_that_stops_there():
    tail = "\ndef g():" + " pass" * 40
    response, count = asked(BODY + tail, "length")
    # Tokens are bytes: the stop text `\ndef` completes at the fifth byte after the body.
    needed = len(bytes_tokenizer()(f"{BODY}\ndef", add_special_tokens=False).input_ids)
    assert (response.text, response.tokens, response.finish) == (BODY, needed, "stop")
    assert not response.repeats, "what is cut off does not count"
    whole, _ = asked(BODY + tail, "length", stops=[])
    assert (whole.tokens, whole.finish, whole.repeats) == (count, "length", True)
    uncut, count = asked(BODY, "length")
    assert (uncut.text, uncut.tokens, uncut.finish) == (BODY, count, "length")


def test_responses_made_elsewhere_are_cut_too(tmp_path):
    texts, path = [BODY + HELPER, BODY], tmp_path / "made.jsonl"
    row = {"id": "T/0", "responses": texts, "tokens": [50, 9], "finish": ["length", "stop"]}
    path.write_text(json.dumps(row))
    first, second = for_benchmark(path, benchmark(), alone=True).responses["T/0"]
    assert (first.text, first.tokens, first.finish) == (BODY + "    return more(x)\n", None, "stop")
    assert (second.text, second.tokens, second.finish) == (BODY, 9, "stop")


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
@pytest.mark.parametrize(
    ("stops", "responses", "right"),
    [
        (STOPS, [BODY, IN_TEXT, HELPER, f"{BODY}\ndef twice(x):\n    return 0", "", "\nclass A:"],
         [True, True, False, True, False, False]),
        # Uncut, all of a response counts; it must be a program as it is.
        ([], [HELPER, f"{BODY}\ndef twice(x):\n    return 0", f"{BODY}That is all.",
              f"```python\n{BODY}```"], [True, False, False, False]),
    ],
)  # fmt: skip
def test_prompt_and_cut_response_are_the_program(stops, responses, right):
    bench = benchmark(stops, samples=len(responses))
    answers = [asked(text, "length", stops)[0] for text in responses]
    grader = catalog.grader(bench.config, "bubblewrap", print)
    done = judge(bench, grader, {"T/0": answers}, 0)
    grader.close()
    assert done.generations[0]["correct"] == right
    assert done.generations[0]["prompt"] == PROMPT[1:]


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_the_presets_continue_the_code_itself(name):
    preset = settings(f"{name}_raw")
    assert (preset.prompt, preset.max_tokens) == ("raw", 512) and "\nprint(" in preset.stop_texts
    override = settings(name, f"benchmark.{name}.prompt=raw")
    assert (override.prompt, override.stop_texts) == ("raw", [])
    if os.environ.get("ESR_DATA"):
        both = (catalog.load(name, each, None).questions for each in (preset, settings(name)))
        for each, chat in zip(*both, strict=True):
            text = each.messages[0]["content"]
            assert text == each.reference.prompt == chat.reference.prompt.lstrip("\n")
            assert each.raw and text.strip() in chat.messages[0]["content"]
            assert text.endswith(('"""\n', "'''\n")), each.id
            solution = chat.reference.canonical.removeprefix(chat.reference.prompt).lstrip("\n")
            assert cut(solution, preset.stop_texts) == solution, each.id


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (r"stop_texts=['\ndef']", "holds a backslash and an n"),
        ("prompt=bare", "choose one of chat, raw"), ("stop_texts=['']", "cuts every response"),
        ("system=Brief. benchmark.humaneval.prompt=raw", "system=Brief.: prompt=raw has no turns"),
        ("box=first", "kind=code has no boxes"),
    ],
)  # fmt: skip
def test_settings_that_cannot_hold_are_refused(setting, message):
    first, *rest = f"benchmark.humaneval.{setting}".split()
    first = f"+{first}" if "box" in first else first
    with pytest.raises(ConfigError, match=message):
        settings("humaneval", first, *rest)
    with pytest.raises(ConfigError, match=r"prompt=raw: kind=math has no code"):
        replace(settings("math500"), prompt="raw")
    with pytest.raises(ConfigError, match="tools_in=text: needs a wording_in_text"):
        BenchmarkConfig(kind="tools", tools_in="text")


@pytest.mark.skipif("ESR_DATA" not in os.environ, reason="needs the folder of data in ESR_DATA")
def test_how_many_published_solutions_the_authors_stop_texts_cut():
    """The figures of docs/evaluation.md."""
    for name, expected in (("humaneval", 0), ("mbpp", 76)):
        references = [q.reference for q in catalog.load(name, settings(name), None).questions]
        solutions = [each.canonical.removeprefix(each.prompt).lstrip("\n") for each in references]
        assert sum(cut(each, STOPS) != each for each in solutions) == expected
