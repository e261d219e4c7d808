"""An ablation on Ray: tiny real trainings, once; the second time all is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import DATABASE, Cli, write_study
from search_helpers import SIX

from hybridnas.space import SearchSpace
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]


@pytest.mark.slow
def test_trainings_go_through_ray_and_are_known_the_second_time(cli: Cli) -> None:
    few = {"epochs": 1, "resolution": 32, "share": 0.2}
    name = write_study(space=SIX, fidelities=[few], resources={"concurrent": 2})
    scan = SearchSpace.load(SIX).decode({"stage1.mixer": "ssm"})
    Path("scan.json").write_text(scan.to_json(), encoding="utf-8")
    words = ("ablate", "scan.json", "--study", name, "--seeds", "2", "--json")
    done = cli(*words)
    assert done.code == 0, done.err
    assert "starting Ray" in done.err
    found = json.loads(done.out)
    (twin,) = found["twins"]
    assert [twin["replaced"][0][key] for key in ("stage", "mixer")] == [1, "ssm"]
    original, other = found["original"]["scores"], twin["scores"]
    assert set(original) == set(other) == {"1", "2"}
    mean = sum(original[seed] - other[seed] for seed in "12") / 2
    assert twin["effect"]["value"] == pytest.approx(mean)
    with Store.open(f"sqlite:///{DATABASE}") as store:
        trials = store.trials(found["study"])
        assert [trial.evaluation and trial.evaluation.status for trial in trials] == ["ok"] * 4
        assert all(t.evaluation and t.evaluation.weights is None for t in trials)
        assert [s.end_reason for s in store.sessions(found["study"])] == ["done"]
    again = cli(*words)
    assert json.loads(again.out) == found
    assert "starting Ray" not in again.err  # nothing is left to do
