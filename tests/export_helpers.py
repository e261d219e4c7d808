"""A study with one trial that was really trained, and its export: a plug-in of pytest.

PYTEST_DONT_REWRITE: tests import from here before the plug-in loads.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import search_helpers as helpers
from torch import Tensor

from hybridnas.architecture import Architecture
from hybridnas.cli.origins import origin_of
from hybridnas.evaluate import evaluate
from hybridnas.export import export_model
from hybridnas.search import weights
from hybridnas.search.plan import Plan, make_plan
from hybridnas.search.rows import Row
from hybridnas.search.studies import read_study
from hybridnas.search.view import StudyView
from hybridnas.search.worker import as_evaluation
from hybridnas.store import Evaluation, Store

STAGES = [{"depth": 1, "width": 16, "mixer": mixer} for mixer in ("gated_conv", "ssm")]
STUDY = {
    **helpers.RAW,
    "space": {**helpers.SIX, "stages": STAGES},
    "fidelities": [{"epochs": 2, "resolution": 32}],
    "recipe": {
        "batch_size": 25,
        "lr": 2e-3,
        "warmup_epochs": 0.5,
        "augmentation": {"scale": [0.8, 1.0], "hflip": 0},
    },
}
TINY = Architecture.from_dict(
    {"stages": [{"width": 8, "blocks": [{"form": "gated", "mixer": "gated_conv"}]}]}
)


def train_a_trial(plan: Plan, store: Store, folder: Path) -> dict[str, Tensor]:
    """A study's first trial, really trained and recorded, its weights kept in `folder`; they are
    returned, too."""
    core = helpers.start(plan, store)
    candidate = helpers.asked(core)
    outcome = evaluate(helpers.network(candidate), plan.protocol, device="cpu")
    assert outcome.state_dict is not None, outcome.message
    kept = weights.save(outcome.state_dict, str(folder), "trial0")
    found = as_evaluation(
        outcome, candidate.digest, plan.protocol.digest, dict(candidate.costs), 0, kept
    )
    store.record(candidate.token, found)
    core.settle(candidate.number)
    return outcome.state_dict


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study's database with one trial that was really trained, for seconds on digits."""
    folder = tmp_path_factory.mktemp("study")
    url = f"sqlite:///{folder / 'study.db'}"
    with Store.open(url) as store:
        train_a_trial(make_plan(read_study(STUDY)), store, folder)
    return url


def trained(storage: str) -> tuple[StudyView, Row, Evaluation]:
    """The study, its one trial, and its evaluation."""
    with Store.open(storage, create=False) as store:
        view = StudyView("shapes", store)
    (row,) = view.finished
    assert row.evaluation is not None
    return view, row, row.evaluation


@pytest.fixture(scope="session")
def exported(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    view, row, evaluation = trained(storage)
    assert evaluation.weights is not None
    folder = tmp_path_factory.mktemp("exported") / "model"
    state = weights.load(evaluation.weights)
    export_model(row.architecture, folder, state, origin_of(view, row))
    return folder
