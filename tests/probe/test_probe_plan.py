"""`esr probe run=`: what the folder of the run may decide."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from run_folders import write_run

from esr_cli.base.files import conf_dir
from esr_cli.config import ConfigError, ProbeCommandConfig, gate
from esr_cli.probe.plan import resolve

TRUST = "pair.student.trust_remote_code"


def resolved(run, *overrides) -> ProbeCommandConfig:
    typed = [f"run={run}", "probe=profile", *overrides]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = gate.read(compose("probe", overrides=typed), ProbeCommandConfig)
    return resolve(config, typed)


def test_remote_code_and_the_sandbox_are_those_that_are_typed(tmp_path):
    run = write_run(tmp_path / "run", "+rollout_len=8", f"{TRUST}=true", "sandbox=none",
                    right={0: [[1]], 1: [[1]]})  # fmt: skip
    with pytest.raises(ConfigError, match=f"{TRUST}=true counts only if it is typed"):
        resolved(run)
    assert resolved(run, f"{TRUST}=true", "rollout=eager").rollout.engine == "eager"
    config = resolved(run, f"{TRUST}=true")
    assert config.rollout.engine == "vllm"
    assert config.pair.student.trust_remote_code and config.sandbox == "bubblewrap"
    with pytest.raises(ConfigError, match="brings its own"):
        resolved(run, f"{TRUST}=true", "pair.student.path=x")
