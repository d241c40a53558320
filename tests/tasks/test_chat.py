"""Chat templates: support for system text and functions, detected by rendering.

The templates are minimal versions of those of Qwen2.5, Qwen3, Gemma and Gemma 3.
"""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from esr_cli.config import ConfigError, ModelConfig, PairConfig
from esr_cli.config.pair import TeacherConfig
from esr_cli.models.loading import PACKAGED
from esr_cli.tasks.chat import Chat, chats, prompt, untold
from esr_cli.tasks.filters import too_long
from esr_cli.types import Question

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
START = "{% if add_generation_prompt %}<assistant>{% endif %}"
QWEN25 = (
    "{% if messages[0].role != 'system' %}<system>Default.</>{% endif %}"
    "{% if tools %}<tools>{{ tools | tojson }}</>{% endif %}" + TURNS + START
)
QWEN3 = (
    TURNS
    + START
    + "{% if enable_thinking is defined and enable_thinking is false %}<no>{% endif %}"
)
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + TURNS + START
)
DROPS = (
    "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    # The word alone is no support for functions.
    "{# tools #}" + START
)
GEMMA3 = (
    "{% set head = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
    "{% for m in messages if m.role != 'system' %}"
    "<{{ m.role }}>{{ head if loop.first else '' }}{{ m.content }}</>{% endfor %}" + START
)
FUNCTION = {"name": "find", "parameters": {"type": "object", "properties": {}}}
ASKED = Question("q", ({"role": "user", "content": "Where?"},), None)
OFFERED = Question("q", ASKED.messages, None, ({"type": "function", "function": FUNCTION},))
IN_TEXT = "Use {functions} for {problem}"


def chat(template, system=None, thinking=False):
    tokenizer = AutoTokenizer.from_pretrained(PACKAGED / "student")
    tokenizer.chat_template = template
    return Chat(tokenizer, system, thinking)


@pytest.mark.parametrize(
    ("template", "takes_system", "shows_tools"),
    [
        (QWEN25, True, True), (QWEN3, True, False), (GEMMA, False, False), (DROPS, False, False),
        (GEMMA3, True, False), (None, False, False), ("{{ broken", False, False),
    ],
)  # fmt: skip
def test_support_is_detected_by_rendering(template, takes_system, shows_tools):
    found = chat(template)
    assert (found.takes_system, found.shows_tools) == (takes_system, shows_tools)


def test_the_system_text_is_a_system_turn_or_goes_before_the_first_turn():
    assert chat(QWEN25).text(ASKED) == "<system>Default.</><user>Where?</><assistant>"
    rendered = "<system>Brief.</><user>Where?</><assistant>"
    assert chat(QWEN25, "Brief.").text(ASKED) == rendered
    merged = "<user>Brief.\n\nWhere?</><assistant>"
    for template in (GEMMA, DROPS, GEMMA3):
        assert chat(template, "Brief.").text(ASKED) == merged
    assert chat(None, "Brief.").text(ASKED) == "Brief.\n\nWhere?\n\n"


def test_the_system_text_of_a_question_is_kept():
    turns = ({"role": "system", "content": "In French."}, *ASKED.messages)
    asked = Question("q", turns, None)
    assert chat(QWEN3, "Brief.").text(asked).startswith("<system>Brief.\n\nIn French.</><user>")
    assert chat(GEMMA, "Brief.").text(asked).startswith("<user>Brief.\n\nIn French.\n\nWhere?</>")
    assert chat(GEMMA).text(asked).startswith("<user>In French.\n\nWhere?</>")


def test_only_the_first_user_turn_holds_the_system_text():
    turns = (*ASKED.messages, {"role": "assistant", "content": "Here."}, *ASKED.messages)
    text = chat(GEMMA, "Brief.").text(Question("q", turns, None))
    assert text == "<user>Brief.\n\nWhere?</><assistant>Here.</><user>Where?</><assistant>"


def test_functions_are_rendered_by_the_template_or_written_into_the_text():
    assert '"name": "find"' in chat(QWEN25).text(OFFERED, IN_TEXT)
    assert chat(QWEN25).text(OFFERED, IN_TEXT).endswith("<user>Where?</><assistant>")
    text = chat(GEMMA, "Brief.").text(OFFERED, IN_TEXT)
    assert text.startswith('<user>Brief.\n\nUse {"name": "find"') and "for Where?</>" in text
    # Without functions the wording is not applied.
    assert chat(GEMMA).text(ASKED, IN_TEXT) == "<user>Where?</><assistant>"
    with pytest.raises(ConfigError, match="no place for functions"):
        chat(GEMMA).text(OFFERED)


def test_thinking_is_off_by_default():
    assert chat(QWEN3).text(ASKED).endswith("<assistant><no>")
    assert chat(QWEN3, thinking=True).text(ASKED).endswith("<assistant>")


def test_student_and_teacher_use_their_own_templates():
    student, teacher = chat("{{ 'plan : careful' }}"), chat("{{ 'plan : quick' }}")
    both = prompt(ASKED, student, teacher)
    assert both.student_ids == student.encode(ASKED) != teacher.encode(ASKED) == both.teacher_ids


def test_the_teacher_may_be_told_the_reference_answer():
    told = chat(QWEN3, "The answer is {reference}.")
    known = Question("q", ASKED.messages, "here, {problem}")
    assert told.text(known).startswith("<system>The answer is here, {problem}.</><user>Where?</>")
    with pytest.raises(ConfigError, match=r"question q has no reference answer for \{reference\}"):
        told.text(ASKED)
    assert untold(ModelConfig(system="It is {reference}.")).system is None
    assert untold(ModelConfig(system="Be brief.")).system == "Be brief."
    with pytest.raises(ConfigError, match=r"pair.teacher.reads=student: \{reference\}"):
        PairConfig(teacher=TeacherConfig(system="It is {reference}.", reads="student"))
    with pytest.raises(ConfigError, match=r"pair.student.system=.*only pair.teacher.system"):
        PairConfig(student=ModelConfig(system="It is {reference}."))


def test_a_template_error_names_the_question():
    turns = ({"role": "user", "content": "x"}, {"role": "system", "content": "y"})
    refuses = "{% if messages[1].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    with pytest.raises(ConfigError, match=r"question q: the chat template refuses it \(no\)"):
        chat(refuses).text(Question("q", turns, None))


def test_the_teacher_can_read_the_students_prompt_and_a_text_before_the_response():
    pair = PairConfig()
    pair.student.system, pair.student.before_response = "Be brief.", "plan :"
    pair.teacher.before_response = "careful ,"
    tokenizers = chat(QWEN25).tokenizer, chat(QWEN3).tokenizer
    own = prompt(ASKED, *chats(pair, *tokenizers))
    pair.teacher.reads = "student"
    found = prompt(ASKED, *chats(pair, *tokenizers))
    plan, careful = (tuple(tokenizers[0](text).input_ids) for text in ("plan :", "careful ,"))
    assert found.student_ids == own.student_ids and found.before_ids == plan
    assert found.trained_ids == (*found.student_ids, *plan)
    assert found.teacher_ids == (*found.student_ids, *careful) != own.teacher_ids
    assert own.teacher_ids[-len(careful) :] == careful
    assert found.longest == len(found.student_ids) + 2
    # Filters count what is read before a response.
    both = chats(pair, *tokenizers)
    room = len(found.student_ids) + 2
    assert not too_long([ASKED], both, room, "") and too_long([ASKED], both, room - 1, "")
