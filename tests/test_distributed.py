"""Two processes that torchrun starts train what one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import run_helpers as helpers
import torch
from run_helpers import After, Told, log, order
from safetensors.torch import load_file

from hybridnas.runs import load_recipe, run_recipe

ROOT = Path(__file__).resolve().parent.parent
NEVER = After(10**9)


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [sys.executable, "-m", *launcher, "-m", "hybridnas", "train", *words]
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=200, env=environment
    )


@pytest.mark.slow
def test_two_processes_train_what_one_does_with_the_same_batches(tmp_path: Path) -> None:
    recipe = helpers.write_recipe(tmp_path / "plain.yaml", helpers.PLAIN)
    architecture = tmp_path / "small.json"
    architecture.write_text(helpers.ARCHITECTURE.to_json(), encoding="utf-8")
    two = tmp_path / "two"
    words = (str(architecture), "--recipe", recipe, "--data", "digits", "--out", str(two))
    done = torchrun(*words, "--device", "cpu", "--checkpoint-every", "4")
    assert done.returncode == 0, done.stderr
    assert "2 processes (cpu)" in done.stderr
    assert done.stderr.count("epoch 1/2:") == 1  # the first process alone speaks

    one = tmp_path / "one"
    run_recipe(order(one, config=load_recipe(recipe, data="digits")), Told(), NEVER)
    for mine, theirs in zip(log(two), log(one), strict=True):
        assert mine["num_images"] == theirs["num_images"] == "497"
        for name in ("loss", "lr"):
            assert float(mine[name]) == pytest.approx(float(theirs[name]), rel=1e-5)
        assert float(mine["top1"]) == pytest.approx(float(theirs["top1"]), abs=2.5 / 497)
    weights = [load_file(path / "model.safetensors") for path in (two, one)]
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-4)
