"""Where workers compute: on GPUs of their own if there are enough, and in turns if not."""

from __future__ import annotations

import pytest
import torch
from conftest import read

from esr_cli.assembly import seats
from esr_cli.config import ConfigError
from esr_cli.execution.seat import Seat


@pytest.fixture
def gpus(monkeypatch):
    """Sets the number of GPUs that torch sees; nothing computes on them here."""

    def there(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return there


def placed(*overrides):
    """The devices and masks of engines and teachers."""
    config = read("+rollout_len=8", *overrides)
    engines = seats.of_engines(config.rollout, config.execution, config.teacher)
    teachers = seats.of_teachers(config.rollout, config.execution, config.teacher)
    return [(each.device, each.gpus) for each in engines], [
        (each.device, each.gpus) for each in teachers
    ]


VLLM_TEACHER = ("teacher=vllm", "teacher.tensor_parallel=2")
WIDE = "rollout.tensor_parallel=2"


@pytest.mark.parametrize(("count", "overrides", "engines", "teachers"), [
    # One of each: where they are configured.
    (8, [], [("cuda", ())], [("cuda", ())]),
    (2, ["execution.teacher_device=cuda:1"], [("cuda", ())], [("cuda:1", ())]),
    (2, ["teacher=vllm", "execution.teacher_device=cuda:1"], [("cuda", ())], [("cuda:1", (1,))]),
    # Apart from the trainer, wherever that is, and from each other.
    (8, ["execution.rollouts=2"], [("cuda:1", (1,)), ("cuda:2", (2,))], [("cuda:3", ())]),
    (4, ["execution.rollouts=2", "execution.device=cuda:1"],
     [("cuda:0", (0,)), ("cuda:2", (2,))], [("cuda:3", ())]),
    (4, ["rollout=eager", *VLLM_TEACHER], [("cuda:1", ())], [("cuda:2", (2, 3))]),
    # Too few for that: each role begins with the trainer's.
    (2, ["execution.rollouts=2", "execution.teachers=2"],
     [("cuda:0", (0,)), ("cuda:1", (1,))], [("cuda:0", ()), ("cuda:1", ())]),
    (2, VLLM_TEACHER, [("cuda", ())], [("cuda:0", (0, 1))]),
    # Engines of two GPUs each: apart, and in turns.
    (8, ["execution.rollouts=2", WIDE], [("cuda:1", (1, 2)), ("cuda:3", (3, 4))],
     [("cuda:5", ())]),
    (2, [WIDE, *VLLM_TEACHER], [("cuda:0", (0, 1))], [("cuda:0", (0, 1))]),
])  # fmt: skip
def test_gpus_are_distributed(gpus, count, overrides, engines, teachers):
    gpus(count)
    assert placed(*overrides) == (engines, teachers)


def test_too_many_workers_are_refused(gpus):
    gpus(2)
    with pytest.raises(ConfigError, match=r"rollouts=3: they need 3 GPUs, and there are 2"):
        placed("execution.rollouts=3")
    with pytest.raises(
        ConfigError, match=r"tensor_parallel=3: they need 3 GPUs, 3 each, and there"
    ):
        placed("rollout.tensor_parallel=3")
    with pytest.raises(ConfigError, match=r"tensor_parallel=2: needs execution=process or"):
        placed(WIDE, "execution=inline")
    gpus(0)
    with pytest.raises(ConfigError, match=r"tensor_parallel=999: this machine has \d+ cores"):
        placed("rollout.tensor_parallel=999")
    with pytest.raises(ConfigError, match=r"execution.rollouts=999: this machine has \d+ cores"):
        placed("execution.rollouts=999")


def test_threads_are_shared_and_servers_take_no_seat(gpus):
    gpus(0)
    config = read("+rollout_len=8", "execution.rollouts=2", "teacher=server",
                  "teacher.urls=[http://a:1]")  # fmt: skip
    found = seats.of_engines(config.rollout, config.execution, config.teacher)
    assert [each.threads for each in found] == [max(1, torch.get_num_threads() // 2)] * 2
    assert seats.of_teachers(config.rollout, config.execution, config.teacher) == [seats.Seat()]


@pytest.mark.parametrize(("count", "overrides", "beside"), [
    (0, ["execution.rollouts=2"], (2, 1)),
    (0, ["execution=ray", "execution.rollouts=2"], (2, 1)),
    (0, ["execution=ray", "execution.address=a:1"], (0, 0)),
    (8, ["execution=ray", "execution.rollouts=7"], (0, 0)),
    (8, ["execution.rollouts=2"], (0, 0)),
    (2, ["execution.rollouts=2"], (1, 1)),
    (2, ["execution.teacher_device=cuda:1"], (1, 0)),
])  # fmt: skip
def test_memory_counts_what_shares_the_trainers_device(gpus, count, overrides, beside):
    gpus(count)
    assert seats.beside_trainer(read("+rollout_len=8", *overrides)) == beside


def test_on_ray_every_worker_has_a_bundle_of_its_own(gpus):
    gpus(8)
    config = read("+rollout_len=8", "execution=ray", "execution.rollouts=2", WIDE, *VLLM_TEACHER)
    engines = seats.of_engines(config.rollout, config.execution, config.teacher)
    [teacher] = seats.of_teachers(config.rollout, config.execution, config.teacher)
    assert [each.bundle for each in (*engines, teacher)] == [0, 1, 2]
    assert [each.gpu_count for each in (*engines, teacher)] == [2, 2, 2]
    said = "2 engines (vllm, tensor_parallel=2), ray, 2 GPUs each"
    assert said in seats.described(config)


@pytest.mark.parametrize(("count", "overrides", "engines", "teachers", "ranks"), [
    (8, [], [("cuda:2", (2,))], [("cuda:3", ())], ["cuda:0", "cuda:1"]),
    (8, ["execution.device=cuda:4"], [("cuda:0", (0,))], [("cuda:1", ())], ["cuda:4", "cuda:5"]),
    # Engines and teacher take turns on what the ranks leave.
    (4, ["execution.rollouts=2"], [("cuda:2", (2,)), ("cuda:3", (3,))], [("cuda:2", ())],
     ["cuda:0", "cuda:1"]),
    (2, [], [("cuda:0", (0,))], [("cuda:0", ())], ["cuda:0", "cuda:1"]),
])  # fmt: skip
def test_ranks_have_gpus_of_their_own(gpus, count, overrides, engines, teachers, ranks):
    gpus(count)
    config = ["execution.trainers=2", *overrides]
    assert placed(*config) == (engines, teachers)
    made = read("+rollout_len=8", *config)
    assert [each.device for each in seats.of_trainers(made)] == ranks


def test_more_ranks_than_gpus_are_refused(gpus):
    gpus(2)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match=r"execution.trainers=\d: they need \d GPUs"):
            seats.of_trainers(
                read("+rollout_len=8", "execution.trainers=3", f"execution.device={device}")
            )


def test_workers_are_apart_if_they_share_no_device():
    one, two, cpu = Seat("cuda:0"), Seat("cuda:1"), Seat("cpu")
    both = Seat("cuda:0", (0, 1))
    assert (
        seats.apart([one], [two])
        and seats.apart([one], [cpu])
        and seats.apart([both], [Seat("cuda:2", (2,))])
    )
    assert (
        not seats.apart([one], [one])
        and not seats.apart([both], [two])
        and not seats.apart([cpu], [cpu])
    )
    assert not seats.apart([Seat("cuda")], [one, two])
    on_gpu, on_cores = (Seat(cpus=1.0, gpu_count=count) for count in (1, 0))
    assert seats.apart([on_gpu], [on_gpu]) and not seats.apart([on_cores], [on_cores])
