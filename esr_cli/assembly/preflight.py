"""Checks that need no model: paths, tokenizers, stop tokens, context length."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from esr_cli.base import reading
from esr_cli.benchmarks.catalog import Benchmark
from esr_cli.benchmarks.exam import Exam
from esr_cli.config import ConfigError, ModelConfig, RolloutConfig, TrainConfig
from esr_cli.models import loading
from esr_cli.tasks import chat
from esr_cli.tasks.chat import Chat
from esr_cli.types import Prompt, Sampling

MOST_TEMPLATE_BYTES = 1 << 20
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")


def check_models(config: TrainConfig, drawn: bool = True) -> tuple[Any, Any]:
    """Student's and teacher's tokenizers; raises `ConfigError` if a model cannot be used.

    With `drawn=False` folders of random weights may lack the weight files.
    """
    need_weights = drawn or config.pair.weights == "pretrained"
    student = check_model("pair.student.path", config.pair.student, config.rollout, need_weights)
    _check_path("pair.teacher.path", config.pair.teacher.path, need_weights)
    return student, _tokenizer("pair.teacher.path", config.pair.teacher)


def check_model(key: str, model: ModelConfig, rollout: RolloutConfig, weights: bool = True) -> Any:
    """The tokenizer of a model that will generate; raises `ConfigError` if it cannot."""
    _check_path(key, model.path, weights)
    if rollout.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise ConfigError("rollout=vllm: vLLM is not installed; run make setup, or rollout=eager")
    tokenizer = _tokenizer(key, model)
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"{key}={model.path}: its tokenizer has no end-of-text token")
    return tokenizer


def stop_ids(model: ModelConfig, tokenizer: Any, names: list[str]) -> tuple[int, ...]:
    """Ids that end a response: the model's end-of-text tokens, and the known ones of `names`."""
    known = tokenizer.get_vocab()
    eos = {tokenizer.eos_token_id} - {None}
    ids = eos | set(loading.end_ids(model.path, model.revision))
    named = {known[name] for name in names if name in known}
    # A model's configuration may list an id that its tokenizer lacks.
    return tuple(sorted((ids | named) & set(known.values())))


def exam(
    benchmark: Benchmark, model: ModelConfig, tokenizer: Any, seed: int,
    also_stop: tuple[int, ...] = (),
) -> Exam:  # fmt: skip
    """The benchmark's prompts for this model, with the sampling settings.

    Responses end at the end-of-text tokens of the model and the benchmark, and at `also_stop`.
    """
    config = benchmark.config
    ends = {*stop_ids(model, tokenizer, config.stop_tokens), *also_stop}
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
                f"{longest} tokens it goes beyond {key}={context_tokens}; {remedy}"
            )
        needed = max(needed, total)
    return needed


def _check_path(key: str, path: str, need_weights: bool) -> None:
    folder = Path(loading.resolve(path))
    if not folder.exists():
        # A hub id is `owner/name`; anything else is taken as a folder.
        if path.count("/") == 1 and not path.startswith((".", "/", "~")):
            return
        raise ConfigError(f"{key}={path}: no such folder; give a model folder or a hub id")
    loading.check_folder(key, folder)
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
    if not (folder / "config.json").is_file() or (need_weights and not weights):
        raise ConfigError(f"{key}={path}: holds no model (config.json and weights are needed)")


def _tokenizer(key: str, model: ModelConfig) -> Any:
    folder = Path(loading.resolve(model.path))
    # Without these files transformers silently builds an empty tokenizer.
    if folder.is_dir() and not any(next(folder.glob(name), None) for name in TOKENIZERS):
        raise ConfigError(f"{key}={model.path}: holds no tokenizer; copy tokenizer.json there")
    try:
        tokenizer = loading.load_tokenizer(model.path, model.revision, model.trust_remote_code)
    except Exception as error:  # each tokenizer reads files of its own form
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"{key}={model.path}: no tokenizer there ({reason}); give a folder, or a hub id and a "
            "network"
        ) from None
    if model.chat_template:
        tokenizer.chat_template = _template(key, model.chat_template)
    return tokenizer


def _template(key: str, name: str) -> str:
    try:
        return reading.text(Path(name).expanduser(), MOST_TEMPLATE_BYTES)
    except ConfigError as error:
        where = f"{key.removesuffix('.path')}.chat_template={name}"
        raise ConfigError(f"{where}: cannot be read ({error}); give a jinja file") from None
