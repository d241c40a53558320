"""Questions through chat templates: places for system text and functions, found by rendering.

The templates have the shapes of Qwen2.5, Qwen3, Gemma and Gemma 3, with nothing else in them.
"""

from __future__ import annotations

import json
import shutil
import sys

import pytest
from transformers import AutoTokenizer

from esr_cli.assembly import preflight
from esr_cli.benchmarks import catalog
from esr_cli.config import BenchmarkConfig, ConfigError, EvalConfig, ModelConfig, RolloutConfig
from esr_cli.eval import model as eval_model
from esr_cli.models import loading
from esr_cli.models.loading import PACKAGED
from esr_cli.models.reading import reader
from esr_cli.models.vocabulary import align
from esr_cli.rollout.eager import EagerEngine
from esr_cli.tasks.chat import Chat, prompt
from esr_cli.teacher.teacher import Teacher
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
    # The word alone is no place for functions.
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
def test_places_are_found_by_rendering(template, takes_system, shows_tools):
    found = chat(template)
    assert (found.takes_system, found.shows_tools) == (takes_system, shows_tools)


def test_the_system_text_stands_where_the_template_has_a_place_or_before_the_first_turn():
    assert chat(QWEN25).text(ASKED) == "<system>Default.</><user>Where?</><assistant>"
    told = "<system>Brief.</><user>Where?</><assistant>"
    assert chat(QWEN25, "Brief.").text(ASKED) == told
    folded = "<user>Brief.\n\nWhere?</><assistant>"
    for template in (GEMMA, DROPS, GEMMA3):
        assert chat(template, "Brief.").text(ASKED) == folded
    assert chat(None, "Brief.").text(ASKED) == "Brief.\n\nWhere?\n\n"


def test_a_question_with_a_system_text_of_its_own_keeps_it():
    turns = ({"role": "system", "content": "In French."}, *ASKED.messages)
    asked = Question("q", turns, None)
    assert chat(QWEN3, "Brief.").text(asked).startswith("<system>Brief.\n\nIn French.</><user>")
    assert chat(GEMMA, "Brief.").text(asked).startswith("<user>Brief.\n\nIn French.\n\nWhere?</>")
    assert chat(GEMMA).text(asked).startswith("<user>In French.\n\nWhere?</>")


def test_only_the_first_turn_of_the_user_carries_the_system_text():
    turns = (*ASKED.messages, {"role": "assistant", "content": "Here."}, *ASKED.messages)
    text = chat(GEMMA, "Brief.").text(Question("q", turns, None))
    assert text == "<user>Brief.\n\nWhere?</><assistant>Here.</><user>Where?</><assistant>"


def test_functions_stand_in_the_template_or_in_the_text():
    assert '"name": "find"' in chat(QWEN25).text(OFFERED, IN_TEXT)
    assert chat(QWEN25).text(OFFERED, IN_TEXT).endswith("<user>Where?</><assistant>")
    text = chat(GEMMA, "Brief.").text(OFFERED, IN_TEXT)
    assert text.startswith('<user>Brief.\n\nUse {"name": "find"') and "for Where?</>" in text
    # Without functions there is nothing to word.
    assert chat(GEMMA).text(ASKED, IN_TEXT) == "<user>Where?</><assistant>"
    with pytest.raises(ConfigError, match="no place for functions"):
        chat(GEMMA).text(OFFERED)


def test_thinking_is_off_unless_it_is_asked_for():
    assert chat(QWEN3).text(ASKED).endswith("<assistant><no>")
    assert chat(QWEN3, thinking=True).text(ASKED).endswith("<assistant>")


def test_student_and_teacher_each_read_their_own():
    student, teacher = chat("{{ 'plan : careful' }}"), chat("{{ 'plan : quick' }}")
    both = prompt(ASKED, student, teacher)
    assert both.student_ids == student.encode(ASKED) != teacher.encode(ASKED) == both.teacher_ids


def test_what_a_template_refuses_is_said_with_the_question():
    turns = ({"role": "user", "content": "x"}, {"role": "system", "content": "y"})
    refuses = "{% if messages[1].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    with pytest.raises(ConfigError, match=r"question q: the chat template refuses it \(no\)"):
        chat(refuses).text(Question("q", turns, None))


def test_a_benchmark_is_asked_by_the_settings_of_the_model(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ messages[0].role }} {{ enable_thinking }}")
    model = ModelConfig(
        "esr:student", system="plan", thinking=True, chat_template=str(tmp_path / "t.jinja")
    )
    tokenizer = preflight.check_model("pair.student.path", model, RolloutConfig(engine="eager"))
    bench = catalog.load("lab", BenchmarkConfig(problems=1), None)
    exam = preflight.exam(bench, model, tokenizer, seed=0)
    expected = tokenizer("system True", add_special_tokens=False).input_ids
    assert exam.prompts[0].student_ids == tuple(expected)
    gone = ModelConfig("esr:student", chat_template="gone.jinja")
    with pytest.raises(ConfigError, match=r"pair\.student\.chat_template=gone\.jinja: cannot be"):
        preflight.check_model("pair.student.path", gone, RolloutConfig(engine="eager"))


def test_esr_eval_takes_a_system_text_for_a_model_and_that_of_the_run_for_a_run(unbroken):
    lab = {"lab": BenchmarkConfig()}
    told = EvalConfig(benchmark=lab, model="m", system="Brief.", thinking=True)
    model, *_ = eval_model._of_model(told)
    assert (model.system, model.thinking) == ("Brief.", True)
    for given in ({"run": "r"}, {"generations": "g"}):
        with pytest.raises(ConfigError, match="goes with model= only"):
            EvalConfig(benchmark=lab, system="Brief.", **given)
    model, *_ = eval_model._of_run(EvalConfig(benchmark=lab, run=str(unbroken)))
    assert model == ModelConfig(str(unbroken / "student"))


def test_code_that_comes_with_a_model_runs_only_where_it_is_trusted(
    tiny_pair, tmp_path, monkeypatch
):
    # Where transformers copies such code to.
    cache = str(tmp_path / "modules")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", cache)
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = shutil.copytree(tiny_pair / "student", tmp_path / "mine")
    (folder / "mine.py").write_text(
        "from transformers import Qwen3Config, Qwen3ForCausalLM\n"
        "class MineConfig(Qwen3Config):\n    model_type = 'mine'\n"
        "class MineModel(Qwen3ForCausalLM):\n    config_class = MineConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.MineModel"}
    (folder / "config.json").write_text(json.dumps(config))
    path = str(folder)
    with pytest.raises(ValueError, match="trust_remote_code"):
        loading.load_model(path, "float32", "cpu")
    assert type(loading.load_model(path, "float32", "cpu", None, True)).__name__ == "MineModel"
    assert loading.load_shape(path, None, True).max_position_embeddings > 0
    assert loading.load_tokenizer(path, None, True).eos_token_id is not None
    EagerEngine(path, "float32", 2, trust_remote_code=True)
    words = loading.load_tokenizer("esr:student")
    met = align(words, words, "ids")
    same = reader(met, words, words), met.teacher_of
    Teacher(path, "float32", "cpu", 64, None, *same, trust_remote_code=True)
