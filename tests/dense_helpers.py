"""Studies of dense tasks on tiny sets, each with one trial that was really trained: a plug-in of
pytest.

PYTEST_DONT_REWRITE: tests import from here before the plug-in loads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
from coco_helpers import draw
from export_helpers import train_a_trial
from mask_sets import write_set

from hybridnas.cli.origins import origin_of
from hybridnas.export import export_model
from hybridnas.search.plan import make_plan
from hybridnas.search.ray_session import ray_session
from hybridnas.search.rows import Row
from hybridnas.search.studies import read_study
from hybridnas.search.view import StudyView
from hybridnas.store import Store

STAGES = [{"depth": 1, "width": [8, 16], "mixer": mixer} for mixer in ("gated_conv", "ssm")]
SPACE = {**helpers.SIX, "name": "tiny", "stages": STAGES}
RECIPE: dict[str, Any] = {"batch_size": 2, "warmup_epochs": 0.5}


def raw(task: str, data: Path, **changes: Any) -> dict[str, Any]:
    """A study of a dense task that a CPU does in seconds."""
    return {
        "name": task,
        "space": SPACE,
        "task": {"name": task, "data": str(data), "head_width": 8},
        "fidelities": [{"epochs": 1, "resolution": 32}],
        "recipe": RECIPE,
        "sampler": "random",
        "budget": {"trials": 1},
        **changes,
    }


def write_data(task: str, root: Path) -> Path:
    """A set of the task's layout: 4 images to train on and 3 to score on."""
    if task == "segmentation":
        return write_set(root, training=4, validation=3)
    draw(root, "train2017", 5)  # the last one is without objects
    draw(root, "val2017", 3, seed=1)
    return root


@dataclass(frozen=True)
class Trained:
    """A study with a trial that was trained, where its data lies, its database and its export."""

    task: str
    data: Path
    storage: str
    view: StudyView
    row: Row
    folder: Path


def train_one(task: str, folder: Path) -> Trained:
    data = write_data(task, folder / "data")
    plan = make_plan(read_study(raw(task, data)))
    storage = f"sqlite:///{folder / 'study.db'}"
    with Store.open(storage) as store:
        state_dict = train_a_trial(plan, store, folder)
        view = StudyView(task, store)
    (row,) = view.finished
    export_model(row.architecture, folder / "model", state_dict, origin_of(view, row))
    return Trained(task, data, storage, view, row, folder / "model")


@pytest.fixture(scope="session", params=["segmentation", "detection"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_one(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    """Ray and its workers for a file's searches: they take longer to start than to train here."""
    with ray_session(None):
        yield
