"""`esr eval` on the command line."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys

import pytest
from conftest import INLINE, ROOT, SHORT, esr, rows

from esr_cli.config import gate

LAB = ("benchmark=lab", "limit=4")
EAGER = ("rollout=eager", "execution=inline")


@pytest.fixture(scope="session")
def evaluated(unbroken):
    """The folder with evaluations of the unbroken run: its student (`last`), every checkpoint."""
    for which in ("last", "all"):
        done = esr(
            "eval", f"run={unbroken}", *EAGER, f"checkpoints={which}", *LAB,
            "benchmark.lab.samples=1", f"out={unbroken.parent / which}",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    return unbroken.parent


def test_evaluating_a_run_repeats_its_last_evaluation(evaluated):
    trained = [row for row in rows(evaluated / "run", "eval.jsonl") if row["step"] == 30]
    assert rows(evaluated / "last", "eval.jsonl") == trained
    every = rows(evaluated / "run", "generations.jsonl")
    assert rows(evaluated / "last", "generations.jsonl") == [r for r in every if r["step"] == 30]


def test_every_checkpoint_is_evaluated_and_the_last_equals_the_student(evaluated):
    steps = [row["step"] for row in rows(evaluated / "all", "eval.jsonl")]
    assert sorted(set(steps)) == [28, 30]
    last = [row for row in rows(evaluated / "all", "eval.jsonl") if row["step"] == 30]
    assert last == rows(evaluated / "last", "eval.jsonl")


def evaluate_run(cwd):
    """Evaluates the run in `cwd`: its student into `last`, its checkpoints into `all`."""
    for which in ("last", "all"):
        done = esr(
            "eval", "run=run", EAGER[1], f"checkpoints={which}", *LAB, f"out={which}", cwd=cwd,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        # The engine is the run's, since none was typed.
        assert gate.read_yaml(cwd / which / "config.yaml")["rollout"]["engine"] == "eager"


def test_lora_checkpoints_merge_as_the_student_does(tmp_path):
    done = esr(
        "train", *INLINE, "tune=lab_lora", *SHORT, "steps=4", "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    evaluate_run(tmp_path)
    last = rows(tmp_path / "last", "eval.jsonl")
    assert last == [row for row in rows(tmp_path / "all", "eval.jsonl") if row["step"] == 4]


def test_evaluations_stop_at_the_stop_tokens_of_the_run(tmp_path):
    """A stop token that only `pair.stop_tokens` names ends every response of every evaluation."""
    trained = esr(
        "train", *INLINE, *SHORT, "steps=2", 'pair.stop_tokens=[";"]', "run_dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    evaluate_run(tmp_path)
    for folder in ("run", "last", "all"):
        for row in rows(tmp_path / folder, "generations.jsonl"):
            assert set(row["finish"]) == {"stop"} and ";" not in "".join(row["responses"]), folder


def test_an_interrupted_evaluation_resumes_and_a_complete_one_does_not_rerun(evaluated, tmp_path):
    folder = shutil.copytree(evaluated / "all", tmp_path / "all")
    complete = rows(folder, "eval.jsonl"), rows(folder, "generations.jsonl")
    early = [row for row in complete[0] if row["step"] == 28]
    (folder / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in early))
    command = (
        "eval", f"run={evaluated / 'run'}", *EAGER, "checkpoints=all", *LAB,
        "benchmark.lab.samples=1",
    )  # fmt: skip
    with (folder / "generations.jsonl").open("a") as file:
        file.write('{"id": "broken o')
    saved = (folder / "config.yaml").read_text().replace(str(evaluated / "all"), str(folder))
    (folder / "config.yaml").write_text(saved)
    assert esr(*command, f"out={folder}").returncode == 0
    assert (rows(folder, "eval.jsonl"), rows(folder, "generations.jsonl")) == complete
    again = esr(*command, f"out={folder}")
    assert again.returncode == 0 and "starting the engine" not in again.stdout
    other = esr(*command, "seed=5", f"out={folder}")
    assert other.returncode == 2 and "other settings" in other.stderr


def test_grading_existing_responses_needs_no_model_and_no_torch(evaluated, tmp_path):
    responses = [
        {"id": row["id"], "responses": row["responses"]}
        for row in rows(evaluated / "last", "generations.jsonl")
    ]
    path = tmp_path / "made.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in responses))
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from esr_cli.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "eval", f"generations={path}", *LAB, "out=graded"]
    done = subprocess.run(
        [*command, "benchmark.lab.pass_at=[1]"], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    value = {row["metric"]: row["value"] for row in rows(tmp_path / "graded", "eval.jsonl")}
    ours = {row["metric"]: row["value"] for row in rows(evaluated / "last", "eval.jsonl")}
    assert value["avg@1"] == ours["avg@1"] and "length_characters/mean" in value


def test_esr_reads_the_generations_that_it_writes(evaluated, tmp_path):
    path = evaluated / "run" / "generations.jsonl"
    done = esr(
        "eval", f"generations={path}", *LAB, "benchmark.lab.pass_at=[1]", "out=again", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    figures = [{**row, "step": 30} for row in rows(tmp_path / "again", "eval.jsonl")]
    expected = rows(evaluated / "last", "eval.jsonl")
    drop = ("settings",)
    assert [{k: v for k, v in row.items() if k not in drop} for row in figures] == [
        {k: v for k, v in row.items() if k not in drop} for row in expected
    ]


MATH = [
    {"problem": "What is 1+1?", "answer": "2", "id": "one"},
    {"problem": "What is 2+2?", "answer": "4", "id": "two"},
]


def write(path, lines):
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))


@pytest.mark.parametrize(
    ("data", "made", "more", "message"),
    [
        ([MATH[0], '{"problem": '], [], [], "math500.jsonl:2: broken row"),
        ([MATH[0], {"problem": "x"}], [], [], "math500.jsonl:2: field 'answer' is missing"),
        (
            [MATH[0], {"problem": "x", "answer": 3}],
            [],
            [],
            "'answer' is 3; it must be a string",
        ),
        ([MATH[0], MATH[0]], [], [], "with the id of another"),
        (MATH, [], [], "made.jsonl: holds no rows"),
        (MATH, [{"id": "9", "responses": ["2"]}], ["limit=1"], "its ids are like 9"),
        (MATH, [{"id": "one", "answer": "2"}], [], "made.jsonl:1: it has id, answer; the formats"),
        (MATH, [{"id": "one", "responses": "2"}], [], "made.jsonl:1: field 'responses'"),
        (
            MATH,
            [{"id": "one", "responses": ["2"]}, {"id": "two", "responses": ["2", "4"]}],
            [],
            "1 response to one but 2 to two",
        ),
        (MATH, [], ["benchmark.math500.pass_at=[5]"], "pass@k needs k responses"),
        (MATH, [], ["benchmark=[math500,human]"], "humaneval_plus"),
    ],
)
def test_invalid_input_gives_one_error_line(data, made, more, message, tmp_path):
    write(tmp_path / "math500.jsonl", data)
    write(tmp_path / "made.jsonl", made)
    done = esr(
        "eval", "generations=made.jsonl", "data_dir=.", "benchmark=math500", *more, cwd=tmp_path
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_missing_data_names_the_folder_setting_and_the_download(tmp_path, monkeypatch):
    monkeypatch.delenv("ESR_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # huggingface_hub reads the variable when it is imported.
    done = esr("eval", "model=esr:student", "benchmark=math500", cwd=tmp_path, fresh=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "data_dir=FOLDER" in done.stderr and "HuggingFaceH4/MATH-500 by name" in done.stderr


def test_a_missing_tokenizer_or_model_is_refused(tiny_pair, tmp_path):
    bare = shutil.copytree(tiny_pair / "student", tmp_path / "bare")
    for path in bare.glob("*token*"):
        path.unlink()
    for override, message in (
        ("model=bare", "holds no tokenizer"),
        ("model=./none", "no such folder"),
    ):
        done = esr("eval", override, "rollout=eager", cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
    done = esr("eval", cwd=tmp_path)
    assert done.returncode == 2 and "give one of model=PATH" in done.stderr


def test_a_budget_beyond_the_context_names_the_largest_that_fits(tmp_path):
    done = esr(
        "eval", "model=esr:student", "rollout=eager", "benchmark.lab.max_tokens=500", cwd=tmp_path
    )
    assert done.returncode == 2 and "lower it to 454" in done.stderr, done.stderr


CODE_ROW = {
    "task_id": "T/0", "prompt": "def f(x):\n", "entry_point": "f", "base_input": [[1], [2]],
    "canonical_solution": "    return 2 * x\n", "plus_input": [[3]], "atol": 0,
}  # fmt: skip


def code_files(folder):
    path = folder / "HumanEvalPlus.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(CODE_ROW) + "\n").encode()))
    write(folder / "made.jsonl", [{"id": "T/0", "responses": ["    return 2 * x if x < 3 else 0"]}])
    return ("eval", "generations=made.jsonl", "data_dir=.", "benchmark=humaneval_plus", "out=o")


def test_code_is_graded_on_base_and_plus_tests(tmp_path):
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    done = esr(*code_files(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    value = {row["metric"]: row["value"] for row in rows(tmp_path / "o", "eval.jsonl")}
    assert (value["pass@1"], value["base@1"]) == (0.0, 1.0)
    [row] = rows(tmp_path / "o", "generations.jsonl")
    assert row["reason"] == ["wrong output on call 3"]


def test_without_bubblewrap_code_is_refused_unless_sandbox_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    command = code_files(tmp_path)
    done = esr(*command, cwd=tmp_path)
    assert done.returncode == 2 and "apt-get install bubblewrap" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "o").exists()
    done = esr(*command, "sandbox=none", cwd=tmp_path)
    assert done.returncode == 0 and "unprotected" in done.stdout, done.stderr
    assert "Warning" not in done.stderr
