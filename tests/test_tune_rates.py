"""The script that finds a learning rate for each family of mixers."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import search_helpers as helpers

from hybridnas.errors import ConfigError
from hybridnas.space import SearchSpace

SCRIPT = Path(__file__).parents[1] / "scripts" / "tune_rates.py"
BEST = {"gated_conv": 4e-3, "ssm": 1e-3, "attention": 2e-3}


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tune_rates", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_mixer_gets_the_rate_at_which_its_pure_network_is_best(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained = []

    def evaluate(architecture: Any, protocol: Any, *, device: str) -> Any:
        (mixer,) = {block.mixer_name for stage in architecture.stages for block in stage.blocks}
        trained.append((mixer, protocol.recipe.lr, protocol.seed))
        assert protocol.recipe.lr_scale == {}
        loss = abs(protocol.recipe.lr - BEST[mixer])
        return SimpleNamespace(
            status="ok", metrics={"top1": 0.9 - 10 * loss + 0.001 * protocol.seed}
        )

    monkeypatch.setattr(script, "evaluate", evaluate)
    words = ["tune_rates", "layouts81", "--set", "task.data=digits", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", [*words, "--json", str(tmp_path / "rates.json")])
    script.main()
    assert len(trained) == len(set(trained)) == 3 * 3 * 2
    found = json.loads((tmp_path / "rates.json").read_text())
    assert found["lr_scale"] == {"gated_conv": 2.0, "ssm": 0.5, "attention": 1.0}
    assert (
        "attention (A2-A2-A6-A2), top1 by rate: 0.001: 0.8905, 0.002: 0.9005"
        in capsys.readouterr().out
    )


def test_a_space_without_pure_networks_is_refused(script: ModuleType) -> None:
    stages = [{"depth": 1, "width": 16, "mixer": name} for name in ("ssm", "attention")]
    space = SearchSpace.load({**helpers.COMMON, "name": "fixed", "stages": stages})
    with pytest.raises(ConfigError, match="no mixer that every stage may have"):
        script.pure(space)
