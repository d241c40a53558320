"""The student's step: its values, its invariances, non-finite steps, and its tunings."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from esr_cli.assembly.pairing import resolve_pairing
from esr_cli.config import PairConfig, TuneConfig
from esr_cli.distill.divergence import Options
from esr_cli.distill.positions import Rule
from esr_cli.models.loading import load_model, load_tokenizer
from esr_cli.student import tuning
from esr_cli.student.student import Objective, Student, WeightsError
from esr_cli.teacher.teacher import Teacher
from esr_cli.types import HiddenScores, LogitScores, Prompt, Rollout

STEPS = 10


def rollout(number: int, length: int, teacher_prompt: int) -> Rollout:
    """Random tokens; the teacher's prompt differs in length and content from the student's."""
    stream = torch.Generator().manual_seed(number)

    def ids(count):
        return tuple(torch.randint(3, 100, (count,), generator=stream).tolist())

    prompt = Prompt(f"p{number}", "", ids(5 + number), ids(teacher_prompt))
    return Rollout(prompt, 0, ids(length), (-1.0,) * length, "length")


ROLLOUTS = [rollout(i, length, 9 - i) for i, length in enumerate((7, 1, 12, 4))]


def load(tiny_pair, role="student"):
    return AutoModelForCausalLM.from_pretrained(tiny_pair / role, dtype=torch.float32)


def student(
    tiny_pair, teacher, total_steps=STEPS, rule=None, reduction="token_mean", model=None, **tune
) -> Student:
    torch.manual_seed(0)
    settings = {"method": "full", "learning_rate": 1e-3} | tune
    options = Options(sampling_temperature=0.7, tile_tokens=8)
    objective = Objective(options, rule or Rule(), reduction)
    model = model or load(tiny_pair)
    return Student(model, {"": teacher.head()}, TuneConfig(**settings), objective, total_steps)


def gradients(made: Student, rollouts, teacher) -> dict[str, torch.Tensor]:
    """The step's gradients, from AdamW's first moments, which are a tenth of the gradients."""
    assert made.config.clip_norm > 1e6 and made.config.beta1 == 0.9
    made.update(rollouts, teacher.score(rollouts), 0)
    state = made.optimizer.state
    return {name: state[p]["exp_avg"] * 10 for name, p in made.parameters.items()}


def snapshot(made: Student) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in made.parameters.items()}


def expected_kl(tiny_pair) -> list[torch.Tensor]:
    """The KL per token of each rollout, from both models' logits, in float64."""
    student, teacher = load(tiny_pair).double(), load(tiny_pair, "teacher").double()
    found = []
    for r in ROLLOUTS:
        logs = []
        for model, prompt in ((student, r.prompt.student_ids), (teacher, r.prompt.teacher_ids)):
            with torch.no_grad():
                logits = model(torch.tensor([prompt + r.response_ids])).logits[0]
            logs.append(logits[len(prompt) - 1 : -1].log_softmax(-1))
        found.append((logs[0].exp() * (logs[0] - logs[1])).sum(-1))
    return found


def test_positions_are_counted_from_the_start_of_the_response(tiny_pair, teacher):
    """With different prompt lengths per model and any batch order, each KL is at its position."""
    expected = expected_kl(tiny_pair)
    update = student(tiny_pair, teacher, micro_batch_tokens=40).update(
        ROLLOUTS, teacher.score(ROLLOUTS), 0
    )
    for ours, theirs in zip(update.kl_by_rollout, expected, strict=True):
        assert torch.allclose(torch.tensor(ours).double(), theirs, atol=1e-5)
    assert update.metrics["train/loss"] == pytest.approx(float(torch.cat(expected).mean()), 1e-5)


def test_neither_micro_batches_nor_the_order_of_rollouts_change_the_step(tiny_pair, teacher):
    made = {}
    for name, tokens, order in (("whole", 10**6, 1), ("single", 1, 1), ("turned", 40, -1)):
        made[name] = student(tiny_pair, teacher, micro_batch_tokens=tokens)
        rollouts = ROLLOUTS[::order]
        made[name].update(rollouts, teacher.score(rollouts), 0)
    for name in ("single", "turned"):
        for key, value in snapshot(made["whole"]).items():
            # AdamW's first step has the size of the rate for any gradient, so compare moments.
            assert torch.allclose(value, made[name].parameters[key], atol=1e-4), (name, key)
        for one, other in zip(
            made["whole"].optimizer.state.values(), made[name].optimizer.state.values(), strict=True
        ):
            assert torch.allclose(one["exp_avg"], other["exp_avg"], rtol=1e-4, atol=1e-8), name


def test_gradient_checkpointing_changes_memory_only(tiny_pair, teacher):
    plain, saving = (student(tiny_pair, teacher, gradient_checkpointing=on) for on in (False, True))
    one, other = (made.update(ROLLOUTS, teacher.score(ROLLOUTS), 0) for made in (plain, saving))
    assert one.metrics["train/loss"] == other.metrics["train/loss"]
    assert one.metrics["train/grad_norm"] == pytest.approx(other.metrics["train/grad_norm"], 1e-6)


@pytest.mark.parametrize(
    ("method", "dtype", "tolerance"),
    [
        ("full", torch.float32, 1e-4),
        ("lora", torch.float32, 1e-4),
        ("lora", torch.bfloat16, 3e-2),
    ],
)
def test_compiled_layers_take_the_same_step(tiny_pair, teacher, method, dtype, tolerance):
    plain, fused = (
        student(tiny_pair, teacher, method=method, compile=on, model=load(tiny_pair).to(dtype))
        for on in (False, True)
    )
    for step in range(2):
        # Other lengths, which must not trigger a recompilation.
        rollouts = ROLLOUTS[step:]
        scores = teacher.score(rollouts)
        one, other = (made.update(rollouts, scores, step) for made in (plain, fused))
        for name in ("train/loss", "train/grad_norm"):
            assert one.metrics[name] == pytest.approx(other.metrics[name], tolerance), name
    assert list(plain.weights()) == list(fused.weights())


def test_a_non_finite_step_changes_nothing(tiny_pair, teacher):
    made = student(tiny_pair, teacher)
    made.update(ROLLOUTS, teacher.score(ROLLOUTS), 0)
    before = snapshot(made)
    corrupted = teacher.score(ROLLOUTS).hidden_RD.clone()
    corrupted[3] = math.nan
    update = made.update(ROLLOUTS, HiddenScores(corrupted), 1)
    assert update.suspect and "the teacher's probabilities" in update.skipped
    assert all(torch.equal(p, before[name]) for name, p in made.parameters.items())
    after = made.update(ROLLOUTS, teacher.score(ROLLOUTS), 2)
    assert not after.skipped and math.isfinite(after.metrics["train/loss"])


def test_a_step_that_destroys_the_weights_is_an_error(tiny_pair, teacher):
    made = student(tiny_pair, teacher)
    made.config.learning_rate = math.inf
    with pytest.raises(WeightsError, match="not finite after step 1"):
        made.update(ROLLOUTS, teacher.score(ROLLOUTS), 0)


def test_a_student_without_finite_outputs_is_named(tiny_pair, teacher):
    made = student(tiny_pair, teacher)
    made.model.model.norm.weight.data.fill_(math.nan)
    assert (
        "the student's probabilities" in made.update(ROLLOUTS, teacher.score(ROLLOUTS), 0).skipped
    )


def test_sampling_settings_of_a_greedy_model_do_not_keep_it_from_being_saved(tiny_pair, tmp_path):
    folder = shutil.copytree(tiny_pair / "student", tmp_path / "model")
    generation = {"do_sample": False, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.1}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    model = load_model(str(folder), "float32", "cpu")
    model.save_pretrained(tmp_path / "saved")
    assert not model.generation_config.do_sample


def test_logits_of_the_teacher_give_the_same_loss_as_its_states(tiny_pair, teacher):
    scores = teacher.score(ROLLOUTS)
    logits = LogitScores(teacher.head().logits(scores.hidden_RD))
    one = student(tiny_pair, teacher).update(ROLLOUTS, scores, 0)
    other = student(tiny_pair, teacher).update(ROLLOUTS, logits, 0)
    assert one.metrics["train/loss"] == pytest.approx(other.metrics["train/loss"], 1e-6)


def test_lora_gives_the_engine_merged_weights_by_base_names(tiny_pair, teacher):
    base = load(tiny_pair).state_dict()
    made = student(tiny_pair, teacher, method="lora", rank=4, alpha=8)
    start = made.weights()
    # All seven linear layers of both blocks are trained; the QK-norms are included unchanged.
    trained = [name for name in start if "_proj" in name]
    assert len(trained) == 14 and len(start) == 18
    assert all(torch.equal(tensor, base[name]) for name, tensor in start.items())
    made.update(ROLLOUTS, teacher.score(ROLLOUTS), 0)
    after = made.weights()
    assert all(torch.equal(after[name], base[name]) == ("_proj" not in name) for name in start)
    frozen = {n: p for n, p in made.model.state_dict().items() if "base_layer" in n}
    assert all(torch.equal(p, base[name.replace(".base_layer", "")]) for name, p in frozen.items())


def test_learning_rates_warm_up_and_decay(tiny_pair, teacher):
    made = student(tiny_pair, teacher, schedule="linear", warmup_steps=2, learning_rate=1.0)
    rates = [made.rate(step) for step in range(STEPS)]
    assert rates[0] == pytest.approx(0.5) and rates[1] == pytest.approx(0.9)
    assert rates[-1] == pytest.approx(0.1) and rates[1:] == sorted(rates[1:], reverse=True)
    held = student(tiny_pair, teacher, schedule="constant", learning_rate=1.0)
    assert {held.rate(step) for step in range(STEPS)} == {1.0}


def permuted(folder, target):
    """The same teacher with permuted token ids, in weights and vocabulary."""
    tokenizer, model = load_tokenizer(str(folder)), AutoModelForCausalLM.from_pretrained(folder)
    order = torch.randperm(108, generator=torch.Generator().manual_seed(4))
    rows = model.get_input_embeddings().weight
    with torch.no_grad():
        rows.copy_(rows.clone()[order.argsort()])
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    raw["model"]["vocab"] = {t: int(order[i]) for t, i in raw["model"]["vocab"].items()}
    for token in raw["added_tokens"]:
        token["id"] = int(order[token["id"]])
    model.config.eos_token_id = model.generation_config.eos_token_id = int(order[2])
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    (target / "tokenizer.json").write_text(json.dumps(raw))
    return target


def test_a_teacher_with_other_ids_is_compared_in_the_students_order(tiny_pair, teacher, tmp_path):
    path = str(permuted(tiny_pair / "teacher", tmp_path / "other"))
    pair = PairConfig()
    pair.student.path, pair.teacher.path = str(tiny_pair / "student"), path
    pairing = resolve_pairing(pair, load_tokenizer(pair.student.path), load_tokenizer(path))
    assert pairing.alignment.kind == "tokens" and pairing.columns != tuple(range(108))
    other = Teacher(path, "float32", "cpu", 64, None, pairing.reader, pairing.columns)
    # The teacher's prompt, in the other teacher's ids.
    order = pairing.alignment.teacher_of
    theirs = [
        replace(
            r, prompt=replace(r.prompt, teacher_ids=tuple(order[i] for i in r.prompt.teacher_ids))
        )
        for r in ROLLOUTS
    ]
    ours = teacher.head().logits(teacher.score(ROLLOUTS).hidden_RD)
    found = other.head().logits(other.score(theirs).hidden_RD)
    assert torch.allclose(ours, found, atol=1e-5)


def test_lora_gives_the_engine_complete_blocks(tiny_pair):
    """vLLM reloads fused layers as a whole, and loses parts that it is not given."""
    made = tuning.LoraTuning(load(tiny_pair), 4, 8, ["q_proj"])
    parts = {name.split("layers.0.")[1] for name in made.merged() if "layers.0." in name}
    names = {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"}
    assert parts == {f"self_attn.{name}.weight" for name in names}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapted_layers_train_as_in_peft(tiny_pair, dtype):
    """Values and gradients equal peft's, with merged weights (fp32) or separate products."""
    model = load(tiny_pair).to(dtype)
    made = tuning.LoraTuning(model, 4, 8, ["q_proj", "down_proj"])
    with torch.no_grad():
        for parameter in made.trainable().values():
            parameter.normal_(std=0.2)
    made.publish()
    ids_BL = torch.arange(3, 27).view(2, 12)

    def logits_and_gradients():
        logits_BLV = model(input_ids=ids_BL).logits.float()
        logits_BLV.log_softmax(-1)[..., 5].mean().backward()
        found = {name: p.grad.clone() for name, p in made.trainable().items()}
        model.zero_grad()
        return logits_BLV.detach(), found

    ours, our_gradients = logits_and_gradients()
    for _, layer in made._layers:
        del layer.forward
    theirs, their_gradients = logits_and_gradients()
    close = 1e-4 if dtype == torch.float32 else 0.05
    assert (ours - theirs).norm() < close * theirs.norm()
    assert len(our_gradients) == 8
    for name, gradient in our_gradients.items():
        assert gradient.dtype == torch.float32
        assert (gradient - their_gradients[name]).norm() < close * their_gradients[name].norm()
