"""What the environment asks for, told before anything begins."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import Cli

from hybridnas.environment import pick_device
from hybridnas.errors import ConfigError

pytest_plugins = ["cli_helpers"]


def test_kernels_that_there_are_none_of_are_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYBRIDNAS_KERNELS", "tritn")
    assert cli.refused("search", "quickstart") == (
        "the environment variable HYBRIDNAS_KERNELS is one of auto, triton, torch, mamba, "
        "got 'tritn' (triton?)"
    )
    assert not Path("hybridnas.db").exists()
    with pytest.raises(ConfigError, match="got 'tritn'"):
        pick_device("cpu")  # as all begin that train, score or measure


def test_forced_kernels_that_the_device_cannot_run_are_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("HYBRIDNAS_KERNELS", "triton")
    words = (
        "the environment variable HYBRIDNAS_KERNELS: the backend triton was forced, but its "
        "tensors must be on a CUDA device, got cpu; set it to auto, or leave it unset"
    )
    on_cpu = ("quickstart", "--set", "resources.gpus=0")
    for more in ((), ("--dry-run",)):
        assert cli.refused("search", *on_cpu, *more) == words
    assert not Path("hybridnas.db").exists()
    assert cli.refused("profile", "mambaout_femto", "--device", "cpu") == words
    assert "would run" in cli.shown("search", *on_cpu, "--dry-run", "--ray", "auto")
    monkeypatch.setenv("HYBRIDNAS_KERNELS", "mamba")  # of the scan alone
    assert pick_device("cpu").type == "cpu"
