"""A teacher behind real vLLM servers scores as our own passes do; it survives their deaths."""

from __future__ import annotations

import http.server
import threading
import time

import httpx
import pytest
import torch
from conftest import INLINE, SHORT, SameIds, esr, free_port, launch, read, rows, wait_for_step
from safetensors.torch import load_file
from serving import Server, damaging

from esr_cli.assembly import several_teachers, teachers
from esr_cli.config import ConfigError, ModelConfig
from esr_cli.execution.seat import Seat
from esr_cli.models import outlines
from esr_cli.teacher.canary import Canary
from esr_cli.teacher.servers import ServerError, Servers
from esr_cli.types import Prompt, Rollout

STEPS = 12
KEYS = ("", "open sesame")
# The servers score the shorter responses while the engine samples the longer ones.
RUN = ("train", *SHORT, *INLINE, "lengths.schedule=random", f"steps={STEPS}", "run_dir=run")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Two servers, which start side by side."""
    folders = (tmp_path_factory.mktemp(name) for name in ("server", "second"))
    started = [Server(folder, key=key).start() for folder, key in zip(folders, KEYS, strict=True)]
    yield started
    for each in started:
        each.kill()


@pytest.fixture(scope="module")
def server(both):
    """A server of the lab's teacher."""
    return both[0].ready()


@pytest.fixture(scope="module")
def second(both):
    """Another server of the same teacher, which wants a key."""
    return both[1].ready()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A run whose teacher is our own passes."""
    folder = tmp_path_factory.mktemp("local")
    done = esr(*RUN, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run"


def rollouts():
    """Responses of several lengths, of random tokens."""
    made = []
    generator = torch.Generator().manual_seed(0)
    for at, (prompt, response) in enumerate([(3, 1), (20, 40), (60, 100), (9, 7)]):
        ids = torch.randint(4, 108, (prompt + response,), generator=generator).tolist()
        asked = Prompt(str(at), "", tuple(ids[:prompt]), tuple(ids[:prompt]))
        made.append(Rollout(asked, 0, tuple(ids[prompt:]), (0.0,) * response, "length"))
    return made


def servers_of(*urls, patience_s=0.0, key="", timeout_s=60.0):
    return Servers(urls, key, "float32", timeout_s, patience_s, 2, Canary(108, "float32"))


def built(kind, source, columns=tuple(range(108))):
    head = {"path": "esr:teacher", "skeleton": outlines.skeleton(ModelConfig("esr:teacher")),
            "columns": columns, "dtype": "float32"}  # fmt: skip
    settings = {"reader": SameIds(), "head": head, "source": source, "longest": 256}
    return teachers.build(kind, settings, Seat("cpu"))


@pytest.fixture(scope="module")
def ours():
    return teachers.build("local", {
        "path": "esr:teacher", "dtype": "float32", "micro_batch_tokens": 512, "revision": None,
        "reader": SameIds(), "columns": tuple(range(108)),
    }, Seat("cpu"))  # fmt: skip


def source(*urls, **more):
    return {"urls": list(urls), "key": "", "wire": "float32", "timeout_s": 60.0, "patience_s": 0.0,
            "in_flight": 2, "canary": Canary(108, "float32"), **more}  # fmt: skip


def test_scores_and_head_are_those_of_our_own_passes(server, ours):
    served = built("server", source(server.url))
    found, expected = served.score(rollouts()), ours.score(rollouts())
    assert found.hidden_RD.shape == expected.hidden_RD.shape
    assert float((found.hidden_RD - expected.hidden_RD).abs().max()) < 1e-5
    assert (served.head().weight_VD == ours.head().weight_VD).all()
    assert 0 <= found.metrics["teacher/canary_gap"] < 1e-5


def test_servers_tell_which_of_several_teachers_they_serve(server):
    mine = ["task=jsonl", "teacher=server", f"teacher.urls=[{server.url}]", "teacher.by=source"]
    # The same model may be a teacher twice, with another prompt.
    config = read(*mine, "+pair.teachers.b.path=esr:teacher", "+pair.teachers.b.system=be brief")
    found = several_teachers.each(config)
    assert {name: own.teacher.urls for name, own in found.items()} == {
        "": [server.url],
        "b": [server.url],
    }
    assert found["b"].pair.teacher.system == "be brief" and not found["b"].pair.teachers
    for more, message in (
        (
            ["+pair.teachers.b.path=esr:student"],
            "pair.teachers.b.path=esr:student: none of teacher",
        ),
        (
            ["pair.teacher.path=esr:student", "+pair.teachers.b.path=esr:student"],
            "which is none of",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            several_teachers.each(read(*mine, *more))


def test_answers_in_bfloat16_are_the_rounded_states(server, ours):
    served = built("server", source(server.url, wire="bfloat16", canary=Canary(108, "bfloat16")))
    states = served.score(rollouts()).hidden_RD
    # They get the type of the head.
    assert states.dtype == torch.float32 and (states == states.bfloat16()).all()
    expected = ours.score(rollouts()).hidden_RD
    assert ((states - expected).abs() <= expected.abs() / 128 + 1e-5).all()


def ends_like(run, local):
    a, b = (load_file(each / "student" / "model.safetensors") for each in (run, local))
    assert all(torch.allclose(a[name], b[name], rtol=0, atol=1e-6) for name in a)


def test_a_run_ends_as_one_with_our_own_passes(server, local, tmp_path):
    done = esr(*RUN, "teacher=server", f"teacher.urls=[{server.url}]", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    ends_like(tmp_path / "run", local)
    [start] = rows(tmp_path / "run", "environment.jsonl")
    [served] = start["teachers"]
    assert served.startswith(f"{server.url}: ") and served.endswith(", up to 256 tokens")
    assert "/lab_pair/teacher by vLLM " in served
    metrics = rows(tmp_path / "run")
    assert len(metrics) == STEPS and max(row["teacher/canary_gap"] for row in metrics) < 1e-5


@pytest.mark.parametrize(("dtype", "wire"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_the_wire_may_have_another_type_than_the_pair(server, dtype, wire, tmp_path):
    done = esr("train", *SHORT, *INLINE, "steps=2", "run_dir=run", "teacher=server",
               f"teacher.urls=[{server.url}]", f"pair.dtype={dtype}", f"teacher.wire={wire}",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_server_with_a_key_answers_nothing_without_it(second):
    body = {"model": "esr:teacher", "input": [[1, 2]], "task": "token_embed"}
    for path in ("pooling", "v1/models", "version", "tokenize"):
        answer = httpx.post(f"{second.url}/{path}", json=body)
        assert answer.status_code == 401, (path, answer.text)
    headers = {"Authorization": f"Bearer {second.key}"}
    assert httpx.post(f"{second.url}/pooling", json=body, headers=headers).status_code == 200
    assert httpx.get(f"{second.url}/health").status_code == 200


def test_requests_are_spread_over_the_servers_and_a_dead_one_is_asked_last(server):
    nobody = f"http://127.0.0.1:{free_port()}"
    asked = servers_of(nobody, server.url)
    for expected in (1, 0):
        assert len(asked.states([[1, 2], [3, 4]])) == 2
        # Both requests may meet the dead one before it is known to be dead.
        assert asked.figures()["teacher/failed_requests"] == pytest.approx(expected, abs=0.1)
    asked.close()


def test_closing_ends_the_wait_for_a_server():
    waiting = servers_of(f"http://127.0.0.1:{free_port()}", patience_s=600.0)
    waiting._warn = lambda _: waiting.close()
    began = time.monotonic()
    with pytest.raises(ServerError, match="the run ends"):
        waiting.states([[1, 2]])
    assert time.monotonic() - began < 5


def test_the_line_to_paste_names_pair_and_address(server):
    assert server.line == f"esr train pair=lab teacher=server teacher.urls=[{server.url}]"


def test_what_does_not_serve_the_pairs_teacher_is_refused_with_one_line(
    server, second, tiny_pair, tmp_path
):
    nobody = f"http://127.0.0.1:{free_port()}"
    plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    other = f"http://127.0.0.1:{plain.server_address[1]}"
    for arguments, expected in (
        ([f"teacher.urls=[{nobody}]"], "does not answer as a vLLM server"),
        ([f"teacher.urls=[{other}]"], "is no vLLM server"),
        ([f"teacher.urls=[{second.url}]"], "wants a key: set ESR_TEACHER_KEY"),
        ([f"teacher.urls=[{server.url}]", "pair.context_tokens=512"],
         "start it with --max-model-len 512"),
        ([f"teacher.urls=[{server.url}]", f"pair.teacher.path={tiny_pair}/teacher"],
         "whose states have 96 numbers"),
        ([f"teacher.urls=[{server.url}]", f"pair.teacher.path={tiny_pair}/student"],
         "serves esr:teacher, not pair.teacher.path="),
        ([], "teacher.urls=[]: name the servers"),
    ):  # fmt: skip
        done = esr("train", *SHORT, *INLINE, "teacher=server", *arguments, cwd=tmp_path)
        assert done.returncode == 2 and expected in done.stderr, (arguments, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "runs").exists()
    plain.shutdown()
    plain.server_close()


@pytest.mark.parametrize(("damage", "reason"), [
    (lambda answer: (500, b"oh"), "status 500 (oh)"),
    (lambda answer: (200, answer.content[:-3]), "its answer cannot be read"),
    (lambda answer: (200, bytes(len(answer.content))), "differ by"),
], ids=["status", "cut", "zeros"])  # fmt: skip
def test_a_damaged_answer_is_never_used(server, damage, reason):
    with damaging(server.url, damage) as bad:
        sequences = [[1, 5, 9], [7, 7]]
        asked = servers_of(server.url)
        expected = asked.states(sequences)  # the canary has seen right states
        both = servers_of(bad, server.url)
        both.canary.check(asked.states([list(both.canary.ids)])[0])
        for found, wanted in zip(both.states(sequences), expected, strict=True):
            assert (found == wanted).all()
        assert both.figures()["teacher/failed_requests"] == 1
        alone = servers_of(bad)
        alone.canary.check(asked.states([list(alone.canary.ids)])[0])
        with pytest.raises(ServerError, match=r"start one of teacher\.urls again") as error:
            alone.states(sequences)
        assert reason in str(error.value)
        for each in (asked, both, alone):
            each.close()


def test_what_a_server_refuses_is_not_asked_again(server):
    asked = servers_of(server.url, patience_s=600)
    with pytest.raises(ServerError, match=r"teacher.urls=.*: status 400"):
        asked.states([[1] * 300])  # longer than it reads
    asked.close()


def test_a_server_that_dies_in_mid_run_is_waited_for(second, local, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR_TEACHER_KEY", second.key)
    process = launch(*RUN, "teacher=server", f"teacher.urls=[{second.url}]", cwd=tmp_path)
    wait_for_step(tmp_path / "run", 3, process)
    second.kill()
    second.start().ready()
    assert process.wait() == 0, process.stderr.read()
    ends_like(tmp_path / "run", local)
    assert "no teacher answers" in (tmp_path / "run" / "esr.log").read_text()
    assert sum(row["teacher/failed_requests"] for row in rows(tmp_path / "run")) > 0


def test_another_server_answers_for_one_that_died(server, second, local, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR_TEACHER_KEY", second.key)
    urls = f"teacher.urls=[{second.url},{server.url}]"
    process = launch(*RUN, "teacher=server", urls, cwd=tmp_path)
    wait_for_step(tmp_path / "run", 3, process)
    second.kill()
    assert process.wait() == 0, process.stderr.read()
    ends_like(tmp_path / "run", local)
