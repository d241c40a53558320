"""`scripts/count_lost_steps.py`: weights that a step cannot move, on known answers."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from safetensors.torch import save_file

from esr_cli.check.tuning import first_lost

SCRIPT = ROOT / "scripts" / "count_lost_steps.py"
HERE = runpy.run_path(str(SCRIPT))
lost = HERE["lost"]


def test_single_weights():
    """At 1.0 bf16 numbers lie 2^-8 apart below and 2^-7 above; half of that is rounded away."""
    one = torch.ones(1)
    assert lost(one, 2**-9, torch.bfloat16).item()  # a tie below, which goes to the even 1.0
    assert not lost(one, 2**-9 * 1.01, torch.bfloat16).item()
    # A power of two moves down before it moves up; its neighbour above moves neither way yet.
    assert lost(one + 2**-7, 2**-9 * 1.01, torch.bfloat16).item()
    assert not lost(one + 2**-7, 2**-8 * 1.01, torch.bfloat16).item()
    # A negative weight moves up, towards zero, before it moves down.
    assert not lost(-one, 2**-9 * 1.01, torch.bfloat16).item()
    # fp16 has three more bits, and zero moves in any type.
    assert lost(one, 2**-12, torch.float16).item()
    assert not lost(one, 2**-12 * 1.01, torch.float16).item()
    assert not lost(torch.zeros(1), 5e-6, torch.bfloat16).item()


def expected_share(std: float, rate: float) -> float:
    """The exact share of lost weights among normal ones: a sum over all bf16 numbers."""
    ids = torch.arange(0, 0x7F80, dtype=torch.int32).to(torch.int16)
    values = ids.view(torch.bfloat16)
    edges = (values[1:].double() + values[:-1].double()) / 2

    def below(x):
        return torch.special.erf(x / (std * math.sqrt(2)))

    # The probability of each positive number and its negative: of what is rounded to it.
    share = below(edges).diff()
    return float(share[lost(values[1:-1], rate, torch.bfloat16)].sum())


def test_normal_weights_of_a_common_size_at_the_rate_of_full_fine_tuning():
    expected = expected_share(0.02, 5e-6)
    assert expected == pytest.approx(0.922, abs=0.0005)
    weights = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)) * 0.02
    found = float(lost(weights, 5e-6, torch.bfloat16).float().mean())
    # Five standard errors.
    assert found == pytest.approx(expected, abs=5 * math.sqrt(0.922 * 0.078 / 1_000_000))


@pytest.mark.parametrize("rate", [5e-6, 5e-5, 2e-4])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_bound_that_esr_check_prints_is_that_of_the_count(rate, dtype):
    bound = first_lost(rate, dtype)
    above = torch.tensor(bound * 1.02)
    assert lost(above, rate, getattr(torch, dtype)).item()
    assert not lost(torch.tensor(bound * 0.98), rate * 1.001, getattr(torch, dtype)).item()


def test_groups_of_a_folder_are_counted(tmp_path):
    weights = {
        "layers.0.up.weight": torch.tensor([1.0, 0.0]), "layers.11.up.weight": torch.ones(2),
        "norm.weight": torch.zeros(4), "steps": torch.ones(3, dtype=torch.int64),
    }  # fmt: skip
    save_file(weights, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"head.weight": torch.ones(2)}, tmp_path / "model-00002-of-00002.safetensors")
    total, fixed = HERE["counts"](tmp_path, [1e-4])
    assert total == {"layers.*.up.weight": 4, "norm.weight": 4, "head.weight": 2}
    assert fixed["layers.*.up.weight", 1e-4, torch.bfloat16] == 3
    last = HERE["table"](total, fixed, [1e-4])[-1].split()
    assert last == ["all", "weights", "10", "50.00%", "50.00%"]


def test_the_script_reads_the_lab_pair():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "esr:student", "lr=5e-5", "lr=2e-4"],
        cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "5e-05 bfloat16" in done.stdout and "0.0002 float16" in done.stdout
    shares = [float(cell.rstrip("%")) for cell in done.stdout.splitlines()[-1].split()[3:]]
    # The larger step, and the type with more bits, lose fewer.
    assert shares[0] > shares[2] > shares[3] and shares[0] > shares[1] > shares[3]
