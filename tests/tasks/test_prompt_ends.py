"""How prompts begin and end, and special tokens that are spelt in a question."""

from __future__ import annotations

import pytest
from test_chat import ASKED, DROPS, GEMMA, OFFERED, QWEN3, QWEN25, START
from tokenizers.processors import Sequence, TemplateProcessing

from esr_cli.lab.byte_tokenizer import bytes_tokenizer
from esr_cli.lab.tokenizers import lab_tokenizer
from esr_cli.tasks.chat import Chat
from esr_cli.tasks.filters import too_long
from esr_cli.types import Question

# As SmolLM3's: an empty system text counts as none.
TRUTHY = (
    "{% set text = messages[0].content if messages[0].role == 'system' else '' %}"
    "<system>{{ text or 'Default.' }}</>"
    "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
) + START
TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}"
CLOSED = "{% for m in messages %}<bos> {{ m.content }} <sep>{% endfor %}"
SPELT = "Q : <eos> x<eos> <bos>"


def chat(template, system=None, adds="", tokenizer=None, **options):
    """A chat whose tokenizer itself adds the tokens `adds`, `$A` being the text."""
    tokenizer = tokenizer or bytes_tokenizer()
    if adds:
        known = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<bos>", "<eos>")]
        adding = TemplateProcessing(single=adds, special_tokens=[*known, ("<sep>", 3)])
        kept = tokenizer.backend_tokenizer.post_processor
        both = Sequence([kept, adding]) if kept else adding
        tokenizer.backend_tokenizer.post_processor = both
    tokenizer.chat_template = template
    return Chat(tokenizer, system, **options)


def asked(content, **more):
    return Question("q", ({"role": "user", "content": content},), None, **more)


@pytest.mark.parametrize("template", [QWEN25, QWEN3, TRUTHY])
def test_an_empty_system_prompt_is_not_the_default_of_the_template(template):
    empty = "<system></><user>Where?</><assistant>"
    row = Question("q", ({"role": "system", "content": ""}, *ASKED.messages), None)
    for found in (chat(template, "").text(ASKED), chat(template).text(row)):
        assert found.removesuffix("<no>") == empty
    assert chat(template, "").text(row) == chat(template, "").text(ASKED)
    assert "<system>Brief.</>" in chat(template, "Brief.").text(row)
    default = "<system>Default.</>" if template != QWEN3 else ""
    assert chat(template).text(ASKED).startswith(f"{default}<user>")


def test_an_empty_system_prompt_adds_nothing_where_a_template_has_no_place_for_it():
    for template in (GEMMA, DROPS, None):
        assert chat(template, "").text(ASKED) == chat(template).text(ASKED)


@pytest.mark.parametrize("adds", ["<bos> $A <eos>", "$A <eos>", "<bos> $A", "<bos> $A <sep>"])
@pytest.mark.parametrize("make", [bytes_tokenizer, lab_tokenizer])
def test_a_tokenizer_adds_its_start_but_no_end(adds, make):
    tokenizer = make()
    bare = tokenizer("find a ?\n\n", add_special_tokens=False).input_ids
    start = [tokenizer.bos_token_id] if "<bos>" in adds else []
    raw = chat(None, adds=adds, tokenizer=make())
    assert list(raw.encode(asked("find a ?"))) == [*start, *bare]
    # A template writes the start itself.
    full = chat(CLOSED, adds=adds, tokenizer=make()).encode(asked("find a ?"))
    assert full.count(tokenizer.bos_token_id) == 1 and full[0] == tokenizer.bos_token_id
    assert full[-1] == tokenizer.convert_tokens_to_ids("<sep>")


def test_a_prompt_never_ends_with_the_end_of_text():
    ends = "{% for m in messages %}<bos> {{ m.content }}{{ eos_token }}{% endfor %}"
    ids = chat(ends, adds="<bos> $A <eos>").encode(asked("x"))
    assert ids == tuple(bytes_tokenizer()("<bos> x", add_special_tokens=False).input_ids)
    unsplit = chat(None, adds="<bos> $A", split_special_tokens=False)
    spelt = unsplit.ids([unsplit.rendered(asked("<bos>x"))])[0]
    assert spelt.count(1) == 1, "the text begins with the start already"


@pytest.mark.parametrize("make", [bytes_tokenizer, lab_tokenizer])
@pytest.mark.parametrize("template", [CLOSED, None])
def test_special_tokens_spelt_in_a_question_are_text_unless_set_otherwise(template, make):
    start, end, *_ = special = make().convert_tokens_to_ids(["<bos>", "<eos>", "<sep>"])
    own = [start, special[2]] if template else []
    found = chat(template, tokenizer=make()).encode(asked(SPELT))
    assert [number for number in found if number in special] == own
    meant = chat(template, tokenizer=make(), split_special_tokens=False).encode(asked(SPELT))
    spelt = [end, end, start]
    assert [number for number in meant if number in special] == [*own[:1], *spelt, *own[1:]]
    assert chat(template, tokenizer=make()).text(asked(SPELT)) == chat(
        template, tokenizer=make(), split_special_tokens=False
    ).text(asked(SPELT))


def test_special_tokens_are_text_in_every_turn_and_in_functions():
    function = {"name": "find", "parameters": {"<eos>": ["<sep>", {"a": "<bos>"}]}}
    tools = ({"type": "function", "function": function},)
    roles = ("system", "user", "assistant", "user")
    turns = tuple({"role": role, "content": f"{role} <eos>"} for role in roles)
    for template in (CLOSED + TOOLS, CLOSED.replace("m.content", "m.content | trim") + TOOLS):
        ids = chat(template, "Brief.<sep>").encode(Question("q", turns, None, tools))
        assert [number for number in ids if number < 4] == [1, 3] * 4


def test_a_question_without_special_tokens_is_encoded_as_ever():
    for question in (ASKED, OFFERED):
        plain, split = (chat(QWEN25, split_special_tokens=on) for on in (False, True))
        assert plain.encode(question) == split.encode(question)


def test_the_length_of_a_prompt_counts_spelt_special_tokens_as_text():
    question = asked("<eos>" * 20)
    limit = len(chat(CLOSED).encode(question)) - 1
    assert too_long([question], [chat(CLOSED)], limit, "") == {"q"}
    assert not too_long([question], [chat(CLOSED, split_special_tokens=False)], limit, "")
