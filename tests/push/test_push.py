"""`esr push` against a hub on this machine."""

from __future__ import annotations

import shutil

import pytest
from conftest import esr, free_port
from hub import Hub

from esr_cli.runs import card


@pytest.fixture(scope="module")
def trained(unbroken, tmp_path_factory):
    """A complete run, with the folder that a LoRA student would have."""
    folder = tmp_path_factory.mktemp("pushed")
    shutil.copytree(unbroken, folder / "run", ignore=shutil.ignore_patterns("checkpoints"))
    (folder / "run" / "adapter").mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
        (folder / "run" / "adapter" / name).write_text(f"the {name}")
    return folder


def push(folder, address="http://127.0.0.1:1", token="secret", **more):
    # The transfers of Xet go to servers of its own.
    env = {"HF_ENDPOINT": address, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1",
           "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0", **more}  # fmt: skip
    return esr("push", "run=run", "repo=me/student", cwd=folder, env=env, fresh=True)


def test_the_student_its_card_and_its_adapter_arrive(trained):
    hub = Hub()
    done = push(trained, hub.address)
    hub.close()
    assert done.returncode == 0, done.stderr
    assert hub.created["name"] == "student" and hub.created["organization"] == "me"
    assert hub.created["visibility"] == "private" and hub.tokens == {"Bearer secret"}
    student, adapter = trained / "run" / "student", trained / "run" / "adapter"
    sent = {path.name: path for path in student.iterdir()}
    sent |= {f"adapter/{path.name}": path for path in adapter.iterdir()}
    del sent["adapter/README.md"]
    assert hub.files.keys() == sent.keys()
    assert {"model.safetensors", "adapter/adapter_model.safetensors"} <= sent.keys()
    text = hub.files.pop("README.md").decode()
    assert 'from_pretrained("me/student")' in text and "| lab | avg@1 | " in text
    assert all(content == sent[name].read_bytes() for name, content in hub.files.items())
    assert f"sent: {hub.address}/me/student" in done.stdout


def test_what_cannot_be_sent_is_one_line(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    before = "repo=me/student: "
    hub = Hub(401)
    for answer, status, message in (
        (push(tmp_path, token=""), 2, f"{before}no token of the hub was found; hf auth login"),
        (push(tmp_path, hub.address), 2, f"{before}the hub refuses the token (401"),
        (push(tmp_path, f"http://127.0.0.1:{free_port()}"), 1, f"{before}the hub cannot be"),
    ):
        assert answer.returncode == status and message in answer.stderr, answer.stderr
        assert answer.stderr.count("\n") == 1, answer.stderr
    hub.close()
    (run / "student" / "notes").symlink_to("/etc/passwd")
    linked = esr("push", "run=run", "repo=me/student", "dry_run=true", cwd=tmp_path)
    assert linked.returncode == 2 and "notes in it is a link" in linked.stderr
    (run / "summary.json").unlink()
    incomplete = esr("push", "run=run", "repo=me/student", "dry_run=true", cwd=tmp_path)
    assert "run=run: holds no complete run" in incomplete.stderr
    assert "repo=: name a repository" in esr("push", "run=run").stderr
    alone = esr("push", "run=run", "repo=student", "dry_run=true").stderr
    assert alone == "esr: repo=student: name a repository of the hub, OWNER/NAME\n"


def test_a_dry_run_names_the_files_and_an_edited_card_is_kept(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    dry = esr("push", "run=run", "repo=me/student", "dry_run=true", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert " bytes  config.json" in dry.stdout and "  0.0" not in dry.stdout
    assert "MiB  model.safetensors" in dry.stdout and "nothing is sent" in dry.stdout
    path = tmp_path / "run" / "student" / card.NAME
    path.write_text("mine")
    from esr_cli.push.command import collect

    assert collect(tmp_path / "run", "me/student")[card.NAME] == path
