"""Checks that need no model: paths, tokenizers, stop tokens, context length."""

from __future__ import annotations

import importlib.util
from typing import Any

from esr_cli.assembly import model_folder
from esr_cli.base.words import counted
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import Exam
from esr_cli.config import (
    ConfigError,
    ModelConfig,
    PairConfig,
    RolloutConfig,
    TrainConfig,
    teacher_key,
)
from esr_cli.models import loading
from esr_cli.models.shapes import undivided
from esr_cli.tasks import chat
from esr_cli.tasks.chat import Chat
from esr_cli.types import Prompt, Sampling


def check_models(config: TrainConfig, drawn: bool = True) -> tuple[Any, Any]:
    """Student's and teacher's tokenizers; raises `ConfigError` if a model cannot be used.

    Further teachers are checked, too.
    With `drawn=False` folders of random weights may lack the weight files.
    """
    need_weights = drawn or config.pair.weights == "pretrained"
    by_ids, models = config.pair.alignment != "text", named(config.pair)
    # All folders first, as a tokenizer may be a download.
    for key, model in models.items():
        model_folder.check(key, model, need_weights)
    key, *teachers = models
    student = _tokenizer(key, models[key], config.rollout)
    if by_ids:
        model_folder.check_ids(key, models[key], student)
    tokenizers = []
    for key in teachers:
        model = models[key]
        if config.teacher.engine == "vllm":
            _check_split("teacher.tensor_parallel", config.teacher.tensor_parallel, model)
        tokenizers.append(model_folder.tokenizer(key, model))
        if by_ids:
            model_folder.check_ids(key, model, tokenizers[-1])
    return student, tokenizers[0]


def named(pair: PairConfig) -> dict[str, ModelConfig]:
    """All models of a pair by the setting of their path, the student first."""
    teachers = {f"{teacher_key(name)}.path": model for name, model in pair.all_teachers.items()}
    return {"pair.student.path": pair.student, **teachers}


def check_model(key: str, model: ModelConfig, rollout: RolloutConfig) -> Any:
    """The tokenizer of a model that will generate; raises `ConfigError` if it cannot."""
    model_folder.check(key, model, need_weights=True)
    return _tokenizer(key, model, rollout)


def _tokenizer(key: str, model: ModelConfig, rollout: RolloutConfig) -> Any:
    if rollout.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise ConfigError("rollout=vllm: vLLM is not installed; run make setup, or rollout=eager")
    _check_split("rollout.tensor_parallel", rollout.tensor_parallel, model)
    tokenizer = model_folder.tokenizer(key, model)
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"{key}={model.path}: its tokenizer has no end-of-text token")
    return tokenizer


def _check_split(key: str, parts: int, model: ModelConfig) -> None:
    """Raises `ConfigError` if vLLM cannot split the model over so many GPUs."""
    if parts == 1:
        return
    shape = loading.load_shape(model.path, model.revision, model.trust_remote_code)
    if what := undivided(shape, parts):
        raise ConfigError(
            f"{key}={parts}: {model.path} cannot be split so ({what}); give a number that divides "
            "them, or 1"
        )


def stop_ids(model: ModelConfig, tokenizer: Any, names: list[str]) -> tuple[int, ...]:
    """Ids that end a response: the model's end-of-text tokens, and the known ones of `names`."""
    known = tokenizer.get_vocab()
    eos = {tokenizer.eos_token_id} - {None}
    ids = eos | set(model_folder.end_ids("model", model))
    named = {known[name] for name in names if name in known}
    # A model's configuration may list an id that its tokenizer lacks.
    return tuple(sorted((ids | named) & set(known.values())))


def exam(
    benchmark: Benchmark, model: ModelConfig, tokenizer: Any, seed: int,
    also_stop: tuple[int, ...] = (), own_stop: bool = False,
) -> Exam:  # fmt: skip
    """The benchmark's prompts for this model, with the sampling settings.

    Responses end at the end-of-text tokens of the model and the benchmark, and at `also_stop`; with
    `own_stop` only at the tokenizer's own.
    """
    config = benchmark.config
    ends = {tokenizer.eos_token_id}
    if not own_stop:
        ends |= {*stop_ids(model, tokenizer, config.stop_tokens), *also_stop}
    sampling = Sampling(
        max_tokens=config.max_tokens, temperature=config.temperature, top_p=config.top_p,
        stop_ids=tuple(sorted(ends)), samples=config.samples, seed=seed, purpose="eval",
    )  # fmt: skip
    return Exam(benchmark, prompts_of(benchmark, Chat.of(tokenizer, model)), sampling, tokenizer)


def prompts_of(benchmark: Benchmark, model: Chat, teacher: Chat | None = None) -> list[Prompt]:
    """The benchmark's questions as prompts for the model, and for the teacher if given."""
    wording = benchmark.config.wording_in_text
    return [chat.prompt(each, model, teacher or model, wording) for each in benchmark.questions]


def check_room(exams: list[Exam], context_tokens: int, key: str) -> int:
    """Tokens of the longest prompt plus response; raises `ConfigError` beyond `context_tokens`."""
    needed = 0
    for each in exams:
        longest = max(len(prompt.student_ids) for prompt in each.prompts)
        name, response = each.benchmark.name, each.sampling.max_tokens
        total = longest + response
        if total > context_tokens:
            room = context_tokens - longest
            remedy = f"lower it to {room}" if room > 0 else f"raise {key}"
            raise ConfigError(
                f"benchmark.{name}.max_tokens={response}: with prompts of up to "
                f"{counted(longest, 'token')} it goes beyond {key}={context_tokens}; {remedy}"
            )
        needed = max(needed, total)
    return needed
