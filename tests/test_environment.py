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
