"""`esr probe` from the command line, its plan and its settings."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from html.parser import HTMLParser

import pytest
from conftest import esr, read, rows, value

from esr_cli.config import ConfigError, ProbeCommandConfig, gate
from esr_cli.probe import command, plan
from esr_cli.probe.settings import settings

PROBE = ("probe", "rollout=eager", "execution=inline")
NAMES = ("decay", "profile", "categories", "commitment", "cascade", "samples", "stability")


@pytest.fixture(scope="module")
def probed(unbroken, tmp_path_factory):
    """All probes of a run that trained on eight tokens, in a separate folder."""
    out = tmp_path_factory.mktemp("probed")
    command = (*PROBE, f"run={unbroken}", f"out={out}", "probe=all", "probe.decay.at=[0,3,500]")
    done = esr(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, command, done


def test_all_probes_of_a_run_write_their_files(probed):
    out, _, done = probed
    for name in NAMES:
        assert rows(out, f"{name}.jsonl") and (out / f"{name}.yaml").exists()
        assert name == "samples" or (out / f"{name}.svg").exists()
        assert name in done.stdout
    assert done.stdout.count("responses of the student before") == 1, "sampled once for all"
    # The run has fewer questions than a probe asks.
    asked = {row["prompts"] for name in NAMES[:5] for row in rows(out, f"{name}.jsonl")}
    assert asked == {4} and "4 prompts: limit=4 leaves no more (prompts=" in done.stdout
    assert "decay (4 prompts): " in done.stdout


def test_responses_are_those_of_the_runs_own_evaluations(probed, unbroken):
    """`before` is the initial student of the run, `after` the final one."""
    shown = {(r["who"], r["id"]): r for r in rows(probed[0], "samples.jsonl")}
    for who, step in (("before", 0), ("after", 30)):
        own = [r for r in rows(unbroken, "generations.jsonl") if r["step"] == step]
        assert [shown[who, r["id"]]["response"] for r in own] == [r["responses"][0] for r in own]
        assert [shown[who, r["id"]]["correct"] for r in own] == [r["correct"][0] for r in own]


def test_decay_equals_the_teacher_at_zero_and_the_student_past_the_end(probed, unbroken):
    found = rows(probed[0], "decay.jsonl")
    done = esr(
        "eval", "model=esr:teacher", "rollout=eager", "execution=inline", "limit=4",
        "benchmark.lab.samples=1", f"out={probed[0] / 'teacher'}", "benchmark.lab.max_tokens=128",
        "context_tokens=256",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    teacher = rows(probed[0] / "teacher", "eval.jsonl")[0]["value"]
    assert value(found, "accuracy", who="continued", at=0) == teacher
    assert value(found, "accuracy", who="teacher") == teacher
    student = rows(unbroken, "eval.jsonl")[0]["value"]
    assert value(found, "accuracy", who="continued", at=500) == student != teacher
    assert value(found, "share_going", at=500) == 0 and value(found, "share_going", at=3) == 1
    fall = next(r for r in found if r["figure"] == "drop")
    assert (fall["from"], fall["to"]) == (0, 3), "at 500 all is the student's own"


def test_cascade_regions_follow_the_rollout_length_of_the_run(probed):
    found = {r["region"]: r for r in rows(probed[0], "cascade.jsonl") if r["figure"] == "drop"}
    assert (found["trained"]["to"], found["untrained"]["from"]) == (8, 9)
    assert found["trained"]["value"] > 0.5, "thirty steps should teach the strategy"


def test_existing_probes_are_kept_and_other_settings_are_an_error(probed):
    out, command, _ = probed
    before = (out / "profile.jsonl").read_text()
    (out / "profile.jsonl").unlink()
    again = esr(*command)
    assert again.returncode == 0 and (out / "profile.jsonl").read_text() == before
    assert "responses of the teacher" not in again.stdout, "only what is missing is made"
    assert f"decay: already there, {out}/decay.jsonl" in again.stdout
    assert "profile: already there" not in again.stdout
    other = esr(*command, "samples=2")
    assert other.returncode == 2 and "holds decay with other settings" in other.stderr


class Page(HTMLParser):
    """Collects ids, texts and attributes of a page."""

    def __init__(self):
        super().__init__()
        self.ids, self.open, self.texts, self.attributes = [], [], [], {}

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        assert not {"src", "href"} & found.keys(), "the page must be self-contained"
        self.ids += [found["id"]] if "id" in found else []
        self.attributes.setdefault(tag, found)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_of_samples_is_valid_and_escapes_model_output(probed):
    text = (probed[0] / "samples.html").read_text()
    page = Page()
    page.feed(text)
    assert not page.open and len(set(page.ids)) == len(page.ids) == 4
    assert page.attributes["html"]["lang"] == "en" and page.attributes["meta"]["charset"] == "utf-8"
    assert (
        text.startswith("<!DOCTYPE html>")
        and "<title>" in text
        and "http:" not in text
        and "https:" not in text
    )
    assert "&lt;eos&gt;" in text and "<eos>" not in text
    shown = rows(probed[0], "samples.jsonl")[0]
    # The page omits blanks at the end of a line.
    assert re.sub(r"[ \t]+(?=\n)", "", "".join(shown["tokens"])) in "".join(page.texts)
    assert text.count(f'title="KL {max(shown["kl"]):.3f}"') >= 1


def test_different_tokenizers_leave_out_unaligned_tokens(bytes_teacher, tmp_path):
    done = esr(
        *PROBE, f"pair.teacher.path={bytes_teacher}", "pair.alignment=text", "prompts=2",
        "samples=1", "probe=[decay,profile,commitment,samples]", "probe.decay.at=[0,5]",
        "probe.decay.mirror=true", "out=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = [r for r in rows(tmp_path / "out", "samples.jsonl") if r["who"] == "before"]
    known = [kl is not None for r in shown for kl in r["kl"]]
    assert 0.5 < sum(known) / len(known) < 1
    count = [r["value"] for r in rows(tmp_path / "out", "profile.jsonl") if r["figure"] == "count"]
    assert sum(count) == sum(known)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (("probe=cascade",), "probe=cascade: needs a run; give run=RUN_DIR"),
        (("probe=decoy",), "probe=decoy: no such option; there are all, cascade"),
        (("source=task", "probe=samples"), "probe=samples needs answers; drop one of the two"),
        (("run=nowhere",), "run=nowhere: no such folder"),
        (("probe.profile.share=0",), "probe.*.share=0.0: give a share in (0, 1]"),
        (("probe=decay", "probe.decay.at=[-1]"), "give numbers of tokens, 0 or more"),
        (("probe=decay", "probe.decay.words=[a,a]"), "give texts that are not empty, each once"),
        (("benchmark=[lab,bfcl]", "data_dir=."), "a probe asks one; choose benchmark=NAME"),
        (("benchmark.lab.max_tokens=400",), "beyond pair.context_tokens=256"),
    ],
)
def test_an_error_is_one_line(given, part, tmp_path):
    done = esr(*PROBE, *given, cwd=tmp_path)
    assert done.returncode == 2 and part in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_brings_its_own_pair_and_an_unfinished_one_is_refused(unbroken, tmp_path):
    done = esr(*PROBE, f"run={unbroken}", "seed=3", "out=out", cwd=tmp_path)
    assert done.returncode == 2 and f"seed=3: run={unbroken} brings its own" in done.stderr
    (tmp_path / "run" / "checkpoints" / "step-000001").mkdir(parents=True)
    done = esr(*PROBE, "run=run", cwd=tmp_path)
    assert done.returncode == 2 and "go on with: esr train resume=run" in done.stderr


def test_only_named_settings_of_the_runs_benchmark_change(unbroken):
    """The run asks one response to each of four questions."""

    def resolved(*given):
        overrides = [f"run={unbroken}", *given]
        asked = read(*overrides, "rollout=eager", command="probe", schema=ProbeCommandConfig)
        return plan.resolve(asked, [*overrides, "rollout=eager"])

    own = resolved().benchmark["lab"]
    assert (own.samples, own.pass_at, own.temperature) == (1, [1], 0.7)
    changed = resolved("benchmark.lab.temperature=0.1").benchmark["lab"]
    assert changed == dataclasses.replace(own, temperature=0.1)
    more = resolved("benchmark.lab.samples=3").benchmark["lab"]
    assert more == dataclasses.replace(own, samples=3, pass_at=[3])
    hub = resolved("++benchmark.lab.hub.split=dev").benchmark["lab"]
    assert hub == dataclasses.replace(own, hub=dataclasses.replace(own.hub, split="dev"))
    other = resolved("benchmark=gsm8k", "++benchmark.gsm8k.samples=2").benchmark
    assert list(other) == ["gsm8k"] and other["gsm8k"].samples == 2
    with pytest.raises(ConfigError, match="has lab; give benchmark=gsm8k"):
        resolved("++benchmark.gsm8k.samples=2")


def test_stability_reads_later_evaluations_and_needs_no_complete_run(unbroken, tmp_path):
    run, own = tmp_path / "run", rows(unbroken, "eval.jsonl")
    (run / "eval" / "all").mkdir(parents=True)
    for name in ("config.yaml", "metrics.jsonl", "eval.jsonl", "generations.jsonl"):
        shutil.copy(unbroken / name, run / name)
    done = esr(*PROBE, f"run={run}", "probe=stability")
    assert done.returncode == 0, done.stderr
    # The run has an evaluation at step 0 already; that at step 7 is new.
    later = [
        {**r, "step": at, "value": 0.0, "low": 0.0} for at in (0, 7) for r in own if r["step"] == 0
    ]
    (run / "eval" / "all" / "eval.jsonl").write_text("\n".join(map(json.dumps, later)))
    saved = gate.read_yaml(run / "config.yaml")
    gate.write_yaml(saved, run / "eval" / "all" / "config.yaml")
    # An evaluation on other questions is left out, as in reports.
    (run / "eval" / "other").mkdir()
    gate.write_yaml({**saved, "limit": 3}, run / "eval" / "other" / "config.yaml")
    other = [{**r, "step": 8} for r in later]
    (run / "eval" / "other" / "eval.jsonl").write_text("\n".join(map(json.dumps, other)))
    again = esr(*PROBE, f"run={run}", "probe=stability")
    assert again.returncode == 0, again.stderr
    found = {r["at"]: r["value"] for r in rows(run / "probes", "stability.jsonl")
             if r["figure"] == "avg@1"}  # fmt: skip
    assert sorted(found) == [0, 7, 30] and found[7] == 0 and found[0] == own[0]["value"]


@pytest.mark.parametrize("command", ["probe", "eval"])
def test_a_run_without_its_student_is_no_hub_id(unbroken, command, tmp_path):
    shutil.copytree(unbroken, tmp_path / "mine", ignore=shutil.ignore_patterns("student", "check*"))
    done = esr(command, *PROBE[1:], "run=mine", cwd=tmp_path)
    assert done.returncode == 2 and "mine/student: no such folder" in done.stderr, done.stderr


def test_few_questions_are_spaced_evenly_over_a_file():
    assert plan.spaced(list(range(10)), 4) == [0, 2, 5, 7]
    assert plan.spaced(list(range(3)), 8) == [0, 1, 2]


def test_changed_weights_in_a_model_folder_change_the_settings(tiny_pair, tmp_path):
    shutil.copytree(tiny_pair / "student", tmp_path / "model")
    asked = (f"pair.student.path={tmp_path / 'model'}", "rollout=eager")
    config = read(*asked, command="probe", schema=ProbeCommandConfig)
    first = settings(config, "profile")
    assert list(first["weights"]) == ["student"]
    gate.write_yaml(first, tmp_path / "profile.yaml")
    assert gate.read_yaml(tmp_path / "profile.yaml") == settings(config, "profile")
    os.utime(tmp_path / "model" / "model.safetensors", (1, 1))
    assert settings(config, "profile") != first


def test_a_template_that_closes_no_answer_is_refused(tmp_path):
    (tmp_path / "endless.jinja").write_text("{{ messages[-1].content }}")
    for role in ("student", "teacher"):
        config = read(
            "rollout=eager", f"pair.{role}.chat_template={tmp_path}/endless.jinja",
            command="probe", schema=ProbeCommandConfig,
        )  # fmt: skip
        with pytest.raises(ConfigError, match=f"pair.{role}.path=.*closes an answer with nothing"):
            command.measure(config, tmp_path / "out")
