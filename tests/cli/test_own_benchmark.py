"""A benchmark of one's own: a yaml file outside the package, wherever a benchmark is chosen."""

from __future__ import annotations

import json

import pytest
from conftest import INLINE, SHORT, esr, rows

from esr_cli.cli import own_benchmark
from esr_cli.config import ConfigError, gate

SUMS = """# @package benchmark.copied
kind: math
files: [sums.jsonl]
source: the file beside it
wording: ${wording.math_eval}
system: null
samples: 2
max_tokens: 16
pass_at: ["${..samples}"]
"""
EVAL = ("eval", "generations=made.jsonl")


@pytest.fixture
def place(tmp_path):
    """A folder with `own/sums.yaml`, its questions beside it, and responses to them."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sums.yaml").write_text(SUMS)
    asked = [{"id": f"q{i}", "problem": f"{i} + {i}", "answer": str(2 * i)} for i in range(2)]
    (tmp_path / "own" / "sums.jsonl").write_text("".join(json.dumps(x) + "\n" for x in asked))
    made = [{"id": f"q{i}", "responses": [f"\\boxed{{{2 * i}}}", "\\boxed{2}"]} for i in range(2)]
    (tmp_path / "made.jsonl").write_text("".join(json.dumps(x) + "\n" for x in made))
    return tmp_path


def figures(folder):
    return {row["metric"]: row["value"] for row in rows(folder, "eval.jsonl")}


@pytest.mark.parametrize("chosen", ["own/sums.yaml", "{here}/own/sums.yaml", "[./own/sums.yaml]",
                                    "[{here}/own/sums.yaml]", "own/../own/sums.yaml"])  # fmt: skip
def test_a_file_is_a_benchmark_named_as_the_file(place, chosen):
    chosen = chosen.format(here=place)
    done = esr(*EVAL, f"benchmark={chosen}", "benchmark.sums.max_tokens=8", "out=o", cwd=place)
    assert done.returncode == 0, done.stderr
    assert {row["benchmark"] for row in rows(place / "o", "eval.jsonl")} == {"sums"}
    assert figures(place / "o")["avg@2"] == 0.75 and figures(place / "o")["pass@2"] == 1.0
    saved = gate.read_yaml(place / "o" / "config.yaml")["benchmark"]["sums"]
    assert saved["max_tokens"] == 8 and saved["files"] == [str(place / "own/sums.jsonl")]


def test_every_setting_of_a_benchmark_may_be_typed_though_its_file_has_none(place):
    done = esr(*EVAL, "benchmark=own/sums.yaml", "benchmark.sums.box=first", "out=o", cwd=place)
    assert done.returncode == 0, done.stderr
    assert gate.read_yaml(place / "o" / "config.yaml")["benchmark"]["sums"]["box"] == "first"
    wrong = esr(*EVAL, "benchmark=own/sums.yaml", "benchmark.sums.bix=first", cwd=place)
    assert "did you mean benchmark.sums.box?" in wrong.stderr, wrong.stderr


def test_a_sweep_takes_files_and_names(place):
    """Each run of a sweep is a process of its own, which finds the file again."""
    (place / "own" / "sums.yaml").write_text(f"name: adding\n{SUMS}")
    done = esr("eval", "-m", "generations=made.jsonl", "benchmark=own/sums.yaml,gsm8k",
               "data_dir=own", cwd=place)  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 1 and "benchmark=own/sums.yaml" in output, output
    assert "gsm8k_test.jsonl: not in own" in output
    [found] = place.glob("runs/eval/made/*/eval.jsonl")
    assert {row["benchmark"] for row in rows(found.parent, "eval.jsonl")} == {"adding"}


def test_a_run_keeps_the_benchmark_and_resumes_without_its_file(place):
    chosen = ("train", *INLINE, *SHORT[1:3], *SHORT[4:], "+rollout_len=4", "run_dir=run",
              "benchmark=[own/sums.yaml]", "benchmark.sums.samples=1", "save_every=1")  # fmt: skip
    done = esr(*chosen, "steps=1", cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "own" / "sums.yaml").unlink()
    done = esr("train", "resume=run", "steps=2", cwd=place)
    assert done.returncode == 0, done.stderr
    found = rows(place / "run", "eval.jsonl")
    assert {(row["benchmark"], row["step"]) for row in found} == {
        ("sums", step) for step in (0, 1, 2)
    }


@pytest.mark.parametrize(("content", "message"), [
    (None, "cannot be read (No such file or directory); name a yaml file"),
    ("kind: math\nfile: [a]\n", "file: no such setting; did you mean files?"),
    ("defaults: [math500]\nkind: math\n", "defaults: no such setting"),
    ("files: [a]\n", "it has no kind; give kind: math"),
    ("kind: math\nname: gsm8k\n", "the name gsm8k is taken; give the file another"),
    ("kind: math\nname: a b\n", "name=a b: a name is of letters"),
    ("kind: [\n", "line 2: is broken YAML"),
    ("kind: math\nfiles: [a]\nkind: code\n",
     "benchmark=my.yaml: line 3: the key kind stands in it twice, first in line 1; keep one"),
    ("kind: math\nsource: ${oc.env:HOME}\n", "an interpolation may name a setting"),
    ("kind: math\nsource: ${oc.select:${oc.env:HOME}}\n", "an interpolation may name a setting"),
    ("kind: math\nsystem: ${${benchmark.my.source}:HOME}\n", "an interpolation may name a setting"),
    ("kind: math\nsystem: ${oc.${seed}:HOME}\n", "an interpolation may name a setting"),
    ("a: &b [1]\nkind: *b\n", "an alias (*) is not allowed"),
])  # fmt: skip
def test_a_file_that_is_no_benchmark_is_one_line(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "my.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        own_benchmark.stored(["seed=1", "benchmark=[lab,my.yaml]"])
    assert str(caught.value).startswith("benchmark=my.yaml: ") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_may_not_have_one_name(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "sums.yaml").write_text(SUMS)
    assert own_benchmark.stored(["benchmark=sums.yaml", "benchmark=own/a,sums.yaml"]) == {
        "sums.yaml": "sums"
    }
    with pytest.raises(ConfigError, match=r"benchmark=own/sums\.yaml: the name sums is taken"):
        own_benchmark.stored(["benchmark=[sums.yaml,own/sums.yaml]"])


def test_a_value_that_its_kind_does_not_have_is_one_line(place):
    (place / "own" / "sums.yaml").write_text(SUMS.replace("samples: 2", "samples: many"))
    done = esr(*EVAL, "benchmark=own/sums.yaml", cwd=place)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "benchmark.sums.samples" in done.stderr
