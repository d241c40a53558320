"""Whether the hub can be asked, without a hub."""

from __future__ import annotations

import os
import socket
import time

import pytest
from conftest import free_port

from esr_cli.base import hub


@pytest.fixture
def ask(monkeypatch):
    """Asks anew, with these variables and no others that matter."""
    for name in (*hub.OFFLINE, "HF_ENDPOINT", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    # Restored after the test, as what is out of reach is noted in both.
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def asked(**variables):
        hub.out_of_reach.cache_clear()
        os.environ["HF_HUB_OFFLINE"] = "0"
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return hub.out_of_reach()

    yield asked
    hub.out_of_reach.cache_clear()


def test_a_hub_that_answers_can_be_asked(ask):
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert ask(HF_ENDPOINT=here) == "" and os.environ["HF_HUB_OFFLINE"] == "0"
        # With a proxy before it, only that can be connected to.
        assert ask(HF_ENDPOINT="http://hub.invalid", HTTP_PROXY=here) == ""


def test_a_hub_out_of_reach_is_told_at_once_and_not_asked_again(ask):
    import huggingface_hub

    start = time.perf_counter()
    assert ask(HF_ENDPOINT="https://hub.invalid").startswith("hub.invalid is out of reach: ")
    assert time.perf_counter() - start < 2.5
    assert os.environ["HF_HUB_OFFLINE"] == "1" and huggingface_hub.is_offline_mode()
    refused = ask(HF_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    assert refused == "127.0.0.1 is out of reach: Connection refused"


@pytest.mark.parametrize("name", hub.OFFLINE)
def test_a_hub_that_is_switched_off_is_not_asked(ask, name):
    assert ask(HF_ENDPOINT="https://hub.invalid", **{name: "yes"}) == f"{name} is set"
