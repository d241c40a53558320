"""`esr eval generations=` with files of other programs, and with a part of the questions."""

from __future__ import annotations

import json

from conftest import esr, rows

CHAINS = [("What is 1+1?", "2"), ("What is 2+2?", "4"), ("What is 3+3?", "6")]


def write(path, values):
    path.write_text("".join(json.dumps(each) + "\n" for each in values))


def test_samples_of_the_harness_are_graded_as_the_part_that_they_are(tmp_path):
    write(tmp_path / "gsm8k_test.jsonl", [
        {"question": asked, "answer": f"So.\n#### {answer}"} for asked, answer in CHAINS
    ])  # fmt: skip
    made = [
        {"doc_id": 7, "doc": {"question": asked}, "filter": name,
         "resps": [[f"\\boxed{{{answer}}}", "\\boxed{5}"]]}
        for asked, answer in CHAINS[1:] for name in ("strict-match", "flexible-extract")
    ]  # fmt: skip
    write(tmp_path / "samples_gsm8k.jsonl", made)
    whole = [{"id": i, "responses": [answer]} for i, (_, answer) in enumerate(CHAINS)]
    write(tmp_path / "whole.jsonl", whole)
    for name, out in (("samples_gsm8k", "part"), ("whole", "whole")):
        done = esr("eval", f"generations={name}.jsonl", "data_dir=.", "benchmark=gsm8k",
                   f"out={out}", cwd=tmp_path)  # fmt: skip
        assert done.returncode == 0, done.stderr
        if out == "part":
            said = "samples_gsm8k.jsonl: samples of lm-evaluation-harness (doc, resps); 2 responses"
            assert done.stdout.startswith(said), done.stdout
            assert "2 of 3" in done.stdout.partition("avg@2")[2].splitlines()[0], done.stdout
    found = {row["metric"]: row for row in rows(tmp_path / "part", "eval.jsonl")}
    assert found["avg@2"]["benchmark"] == "gsm8k (2 of 3)" and found["avg@2"]["value"] == 0.5
    assert found["pass@2"]["value"] == 1.0 and "pass@4" not in found
    assert {(row["n"], row["of"]) for row in found.values()} == {(2, 3)}
    # A part is not compared with the whole, and the same command again grades nothing.
    mixed = esr("compare", "a=part", "b=whole", cwd=tmp_path)
    assert mixed.returncode == 2 and "gsm8k (2 of 3)" in mixed.stderr, mixed.stderr
    again = esr("eval", "generations=samples_gsm8k.jsonl", "data_dir=.", "benchmark=gsm8k",
                "out=part", cwd=tmp_path)  # fmt: skip
    assert again.returncode == 0 and "graded in" not in again.stdout


def test_what_is_missing_is_told_before_anything_else_is_fetched(tmp_path):
    """The questions could be downloaded, and the file of responses cannot."""
    for source, said in (
        ("generations=gone.jsonl", "gone.jsonl: cannot be read"),
        ("model=./gone", "model=./gone: no such folder"),
    ):
        done = esr("eval", source, "benchmark=math500", "benchmark.math500.hub.path=.",
                   "data_dir=.", cwd=tmp_path)  # fmt: skip
        assert done.returncode == 2 and said in done.stderr, done.stderr
