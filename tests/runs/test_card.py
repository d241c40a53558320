"""The model card of a student."""

from __future__ import annotations

import shlex
from itertools import pairwise

import yaml
from markdown_it import MarkdownIt
from run_folders import write_run

from esr_cli.base.files import append_rows
from esr_cli.config import gate
from esr_cli.runs import card, environment


def head_and_body(text):
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_a_card_says_what_from_what_how_and_how_well(tmp_path):
    run = write_run(
        tmp_path / "run", "+rollout_len=8", "steps=2", "tune=lab_lora",
        "pair.student.path=owner/base", right={0: [[0, 0], [1, 0]], 2: [[1, 1], [1, 0]]},
    )  # fmt: skip
    (run / environment.FILE).unlink()
    typed = ["rollout_len=8", "steps=2", "tune=lab_lora", "run_dir=/home/me/run", "data_dir=/d"]
    environment.note(run, 0, "", shlex.join(["esr", "train", *typed]))
    head, body = head_and_body(card.text(run))
    assert head["base_model"] == "owner/base" and head["library_name"] == "transformers"
    assert "arxiv:2605.27028" in head["tags"]
    assert "| lab | avg@2 | 0.250 [0.200, 0.300] | 0.750 [0.700, 0.800] | 2 |" in body
    assert "esr train rollout_len=8 steps=2 tune=lab_lora\n" in body, "no folders of the user's"
    assert "LoRA, rank " in body and 'LLM("student")' in body and str(tmp_path) not in body
    assert 'AutoModelForCausalLM.from_pretrained("owner/base")' in body, "what peft adapts"
    pushed = card.text(run, "me/x")
    assert 'LLM("me/x")' in pushed and '"me/x", subfolder="adapter"' in pushed


def test_no_folder_of_the_user_is_in_a_card_and_an_older_run_has_no_command(tmp_path):
    run = write_run(
        tmp_path / "run", "+rollout_len=8", "tune=lab_lora", "pair.student.path=/home/me/x/base",
        right={0: [[0]], 1: [[1]]},
    )  # fmt: skip
    (run / environment.FILE).unlink()
    for command in ({}, {"command": "esr train 'open"}, {"command": "rm -r x"}):
        row = {"step": 0, "versions": "esr-cli 0.1.0", "gpu": "", **command}
        append_rows(run / environment.FILE, [row])
        assert "the command is not known" in card.text(run)
        (run / environment.FILE).unlink()
    typed = ["pair.student.path=/home/me/x/base", "task.files=[../my/a.jsonl,/home/me/b.jsonl]"]
    environment.note(run, 0, "", shlex.join(["esr", "train", *typed]))
    text = card.text(run)
    assert "/home" not in text and "/me" not in text and 'from_pretrained("base")' in text
    assert "pair.student.path=base 'task.files=[a.jsonl,b.jsonl]'" in text


def test_hostile_names_are_text_in_the_card(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=8", right={0: [[0]], 1: [[1]]})
    settings = gate.read_yaml(run / "config.yaml")
    hostile = "x](https://a.b)![i](j)<script>|`**\u202e"
    settings["pair"]["student"]["path"] = settings["pair"]["teacher"]["path"] = hostile
    settings["task"]["name"] = "lab"
    gate.write_yaml(settings, run / "config.yaml")
    row = {"step": 1, "benchmark": f"\n---\nevil: 1\n# {hostile}", "metric": "avg@1", "n": 1}
    append_rows(run / "eval.jsonl", [{**row, "value": 1.0, "low": 0.0, "high": 1.0}])
    (run / environment.FILE).unlink()
    typed = ["esr", "train", f"task.name={hostile}\n```\n# out"]
    environment.note(run, 0, hostile, shlex.join(typed))
    assert "esr train 'task.name=x](https:" in card.text(run)
    head, body = head_and_body(card.text(run))
    assert head.keys() == {"library_name", "pipeline_tag", "tags"}, "a path is no model of the hub"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).enable("table").parse(body)
    inside = [each for token in tokens for each in token.children or ()]
    assert [each.attrs["href"] for each in inside if each.type == "link_open"] == [
        "https://arxiv.org/abs/2605.27028"
    ]
    kinds = {each.type for each in inside} | {each.type for each in tokens}
    assert not kinds & {"image", "html_inline", "html_block", "strong_open"}
    headings = [text.content for opened, text in pairwise(tokens) if opened.type == "heading_open"]
    assert headings[1:] == ["How", "Figures", "Load it"], headings
    assert "\u202e" not in body
