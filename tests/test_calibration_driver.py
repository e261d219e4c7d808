"""A calibration on Ray, from its trainings to the database."""

from __future__ import annotations

from pathlib import Path

import pytest
from search_helpers import LISTED, RAW

from hybridnas.config import Fidelity, parse_study
from hybridnas.search.calibration import Setting, calibration_study
from hybridnas.search.driver import run_calibration
from hybridnas.search.plan import make_plan
from hybridnas.store import Store


@pytest.mark.slow
def test_trainings_go_through_ray_and_keep_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = Fidelity(epochs=1, resolution=16, share=0.2)
    setting = Setting(archs=8, seeds=1, proxy=few, judge=few.model_copy(update={"share": 0.4}))
    raw = {**RAW, "space": LISTED, "fidelities": [few.model_dump()], "resources": {"concurrent": 2}}
    plan = make_plan(calibration_study(parse_study(raw, "test"), setting))
    with Store.open(f"sqlite:///{tmp_path / 'test.db'}") as store:
        result = run_calibration(plan, store, setting)
        assert result is not None
        (record,) = store.calibrations(study="shapes.calibration")
        assert record.result == result
        assert result["architectures"] == 8
        trials = store.trials("shapes.calibration")
        assert len(trials) == 16
        for trial in trials:
            assert trial.evaluation is not None
            assert trial.evaluation.weights is None
            assert trial.evaluation.metrics.keys() >= {"top1", "macs", "params"}
            assert trial.protocol_digest in (record.proxy_digest, record.judge_digest)
        (session,) = store.sessions("shapes.calibration")
        assert session.end_reason == "done"
    assert not Path("artifacts").exists()
