"""`import esr_cli as esr`: what it loads, training, run folders, graders."""

from __future__ import annotations

import sys
import threading

import pytest
from conftest import INLINE, SHORT, interpreter, rows
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from run_folders import write_run

import esr_cli as esr
from esr_cli.base.files import conf_dir
from esr_cli.cli import composing


def test_importing_the_package_loads_no_other(tmp_path):
    code = (
        "import sys; before = set(sys.modules); import esr_cli as esr; dir(esr)\n"
        "print({each.split('.')[0] for each in set(sys.modules) - before}"
        " - sys.stdlib_module_names)\n"
        # The package that shares the name of the function.
        "import esr_cli.train; print(callable(esr.train), esr.ConfigError.__mro__[1].__name__)"
    )
    done = interpreter("-c", code)
    assert done.stdout.splitlines() == ["{'esr_cli'}", "True ValueError"], done.stderr
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        _ = esr.tarin


@pytest.mark.parametrize(
    ("overrides", "settings", "message"),
    [
        (["+rollout_length=3"], {}, "esr's name for it is rollout_len"),
        (["steps=0"], {}, "steps=0: give 1 or more"),
        (["loss=3"], {}, "loss=3: no such option; there are"),
        ([], {"rollout": "vllmm"}, "rollout=vllmm: no such option"),
        ([], {"pair": {"name": "x"}}, "pair={'name': 'x'}: give a number, a text, a list"),
        (["-m", "seed=0,1"], {}, "-m: sweeps and flags are for the command line"),
        (["+sweep=lengths"], {}, "sweeps and flags are for the command line"),
        (["+rollout_len=8"], {"dry_run": True}, "dry_run=True: trains nothing"),
        ("+rollout_len=8", {}, "is one text; give a list, ['+rollout_len=8']"),
    ],
)
def test_a_bad_setting_raises_the_line_that_the_command_would_print(overrides, settings, message):
    with pytest.raises(esr.ConfigError) as caught:
        esr.train(overrides, **settings)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_values_of_python_arrive_as_they_are():
    values = {
        "rollout_len": 8, "data_dir": "a folder=1, [b]", "limit": None, "strict": True,
        "tune.learning_rate": 1e-05, "pair.stop_tokens": ["<|end|>", "null", "a,b"],
        "tracking.group": "true", "benchmark": ["lab"], "execution": "inline",
    }  # fmt: skip
    from esr_cli.api.training import _text

    typed = [f"{key}={_text(key, value)}" for key, value in values.items()]
    config, _ = composing.settings("train", typed)
    assert config.rollout.max_tokens == 8 and config.data_dir == "a folder=1, [b]"
    assert config.limit is None and config.strict is True and config.tune.learning_rate == 1e-05
    assert config.pair.stop_tokens == ["<|end|>", "null", "a,b"] and config.tracking.group == "true"
    assert list(config.benchmark) == ["lab"] and config.execution.engine == "inline"


def test_a_run_resumes_from_python_and_inside_an_application_of_hydra(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = [*SHORT, *INLINE]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        first = esr.train(short, steps=2, run_dir="a run=1")
        compose("report")  # the application's own state is as before
    assert not GlobalHydra.instance().is_initialized()
    assert [row["step"] for row in first.rows("metrics.jsonl")] == [1, 2]
    with pytest.raises(esr.ConfigError, match="holds a complete run"):
        esr.train(short, steps=2, run_dir="a run=1")
    longer = esr.train([*INLINE, "steps=3"], resume="a run=1")
    assert longer.folder == first.folder and list(longer.metrics["step"]) == [1, 2, 3]
    typed = [row["command"] for row in rows(tmp_path / "a run=1", "environment.jsonl")]
    assert " steps=2 " in typed[0] and " steps=3" in typed[1], typed


def test_a_script_without_a_guard_is_not_run_again_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('once', flush=True)\n"
        "from esr_cli.execution import processes\n"
        "launched = processes.take_process('worker')\n"
        "launched.pipe.send((dict, {}, None))\n"
        "print(launched.pipe.recv(), flush=True)\n"
        "launched.pipe.send(None)\n"
        "launched.process.join()\n"
    )
    done = interpreter(str(script))
    assert done.stdout == "once\n(True, None)\n", done.stdout + done.stderr


def test_a_thread_cannot_train():
    caught: list[Exception] = []

    def train() -> None:
        try:
            esr.train(["+rollout_len=8"])
        except esr.ConfigError as error:
            caught.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert "call it in the main thread" in str(caught[0])


def test_a_run_folder_becomes_tables(tmp_path, monkeypatch):
    folder = write_run(
        tmp_path / "run", "+rollout_len=8", "steps=2", right={0: [[0, 0], [1, 0]], 2: [[1, 1]]},
    )  # fmt: skip
    run = esr.load_run(folder)
    assert run.state == "complete" and run.config["steps"] == 2 and run.summary["steps"] == 2
    found = run.evaluations.query("metric == 'avg@2'")
    assert list(found["value"]) == [0.25, 1.0] and list(found["n"]) == [2, 1]
    assert list(run.metrics["step"]) == [1, 2]
    assert run.samples.empty and "response" in run.samples.columns
    assert run.rows("generations.jsonl")[0]["correct"] == [0, 0]
    monkeypatch.setitem(sys.modules, "pandas", None)
    unread = esr.load_run(str(folder))
    with pytest.raises(esr.ConfigError, match="pandas: is not installed"):
        _ = unread.metrics
    assert len(unread.rows("metrics.jsonl")) == 2


def test_a_run_is_shown_in_a_line_and_options_are_checked(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "metrics.jsonl").write_text("")
    assert repr(esr.load_run(tmp_path)) == f"Run(folder={tmp_path!r}, state='unfinished')"
    wrong = {"kind": "nix", "beta": 1, "temperature": 0}
    for (name, value), message in zip(
        wrong.items(), ("choose one of rev", "give", "give"), strict=True
    ):
        with pytest.raises(ValueError, match=f"{name}={value!r}: {message}"):
            esr.Options(**{name: value})


def test_what_is_no_run_or_broken_is_one_line(tmp_path):
    with pytest.raises(esr.ConfigError, match=r"path=.*nowhere: holds no run"):
        esr.load_run(tmp_path / "nowhere")
    folder = write_run(tmp_path / "run", "+rollout_len=8", right={1: [[1]]}, state="failed")
    with pytest.raises(esr.ConfigError, match=r"name=\.\./x: choose one of metrics"):
        esr.load_run(folder).rows("../x")
    (folder / "metrics.jsonl").write_text('{"step": "one"}\n')
    run = esr.load_run(folder)
    assert run.state == "failed" and run.summary == {}
    with pytest.raises(esr.ConfigError, match='step="one" is not a number'):
        _ = run.metrics


def test_graders_by_name():
    assert esr.GRADERS == ("lab", "words", "math", "code", "tools")
    call = {"name": "add", "parameters": {"type": "dict", "properties": {"a": {"type": "integer"}}}}
    tool = esr.ToolReference((call,), {"add": {"a": [1]}})
    for name, right, wrong, reference in (
        ("lab", "\\boxed{3}", "\\boxed{4}", "3"),
        ("tools", "add(a=1)", "add(a=2)", tool),
    ):
        grader = esr.grader(name)
        grades = grader.grade([(right, reference), (wrong, reference)])
        assert [each.correct for each in grades] == [True, False], name
        grader.close()
    first = esr.grader("lab", box="first").grade([("\\boxed{3} \\boxed{4}", "3")])
    assert first[0].correct
    for settings, message in (
        ({"name": "mathe"}, "grader=mathe: choose one of lab"),
        ({"name": "code", "sandbox": "docker"}, "sandbox=docker: choose one of"),
        ({"name": "code", "box": "first"}, "kind=code has no boxes"),
    ):
        with pytest.raises(esr.ConfigError, match=message):
            esr.grader(**settings)
