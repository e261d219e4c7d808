"""The names that DESIGN.md section 11 fixes, and that importing inner modules does not hide."""

from __future__ import annotations

import importlib
import inspect
import random
from pathlib import Path

import pytest
import search_helpers as helpers
from torch import nn

import hybridnas
from hybridnas.search.view import StudyView
from hybridnas.store import Store

FIXED = {
    "Architecture",
    "SearchSpace",
    "build",
    "cost",
    "load_model",
    "load_study",
    "reference",
    "search",
}
# Inner modules whose packages or selves carry the name of a public function.
NAMESAKES = [
    "hybridnas.cost.macs",
    "hybridnas.search.core",
    "hybridnas.search.driver",
    "hybridnas.reference",
    "hybridnas.timm_entry",
    "hybridnas.export.scoring",
]


@pytest.mark.parametrize("name", sorted(FIXED))
def test_a_public_name_is_there_and_explained(name: str) -> None:
    found = getattr(hybridnas, name)
    assert callable(found)
    assert found.__doc__


def test_public_names_are_complete() -> None:
    """As a reader of the file sees them: `from .x import Y as Y`."""
    public = {name for name in dir(hybridnas) if not inspect.ismodule(getattr(hybridnas, name))}
    ours = {name for name in public if not name.startswith("_")}
    assert ours == FIXED | {"Cost", "HybridnasError", "TYPE_CHECKING"}
    with pytest.raises(AttributeError, match="module 'hybridnas' has no attribute 'biuld'"):
        hybridnas.biuld  # type: ignore[attr-defined]  # noqa: B018
    assert hybridnas.__version__ == importlib.metadata.version("hybridnas")


@pytest.mark.parametrize("module", NAMESAKES)
def test_functions_stay_functions(module: str) -> None:
    imported = importlib.import_module(module)
    assert inspect.ismodule(imported)
    for name in ("cost", "search", "reference", "build"):
        assert inspect.isfunction(getattr(hybridnas, name)), f"{name} after import {module}"


def test_from_a_name_to_a_model() -> None:
    architecture = hybridnas.reference("mambaout_femto")
    assert hybridnas.Architecture.from_json(architecture.to_json()) == architecture
    assert len(architecture.digest) == 12
    known = hybridnas.cost(architecture, input_size=224, task=None)
    assert isinstance(known, hybridnas.Cost)
    net = hybridnas.build(architecture, num_classes=1000)
    assert isinstance(net, nn.Module)
    assert known.params == sum(parameter.numel() for parameter in net.parameters())
    assert known.macs > 1e9


def test_a_space_is_sampled() -> None:
    space = hybridnas.SearchSpace.load("hybrid_small")
    architecture = space.sample(random.Random(0))
    assert space.contains(architecture)
    assert not space.contains(hybridnas.reference("mambaout_tiny"))
    assert space.size() > 1e9


def test_bad_input_is_one_kind_of_error(tmp_path: Path) -> None:
    for call in (
        lambda: hybridnas.reference("nope"),
        lambda: hybridnas.SearchSpace.load("nope"),
        lambda: hybridnas.search("nope"),
        lambda: hybridnas.search({**helpers.RAW, "more": 1}),
        lambda: hybridnas.search(helpers.RAW, ray_address="127.0.0.1:1"),
        lambda: hybridnas.load_study("nope", f"sqlite:///{tmp_path / 'none.db'}"),
        lambda: hybridnas.Architecture.from_json("{}"),
    ):
        with pytest.raises(hybridnas.HybridnasError):
            call()
    assert issubclass(hybridnas.HybridnasError, ValueError)


def test_a_search_refuses_before_it_plans(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning imports torch and looks at the data."""
    helpers.drive(helpers.start(helpers.plan(), study_store))
    planning = importlib.import_module("hybridnas.search.plan")
    monkeypatch.setattr(planning, "make_plan", None)
    for study, resume, message in (
        ("shape", True, r"no study 'shape' \(shapes\?\) in the database; it has: shapes"),
        (helpers.RAW, False, "'shapes' is in the database already: go on with --resume"),
        ({**helpers.RAW, "name": "new", "task": {"data": "none"}}, False, "none does not exist"),
        ({**helpers.RAW, "seed": 5}, True, "cannot be resumed with changed seed"),
    ):
        with pytest.raises(hybridnas.HybridnasError, match=message):
            hybridnas.search(study, storage=study_store.url, resume=resume)
    monkeypatch.setattr(planning, "make_plan", lambda study: pytest.fail(study.name))
    with pytest.raises(pytest.fail.Exception, match="shapes"):
        hybridnas.search("shapes", storage=study_store.url, resume=True)


def test_a_study_is_loaded(study_store: Store) -> None:
    core = helpers.start(helpers.plan(), study_store)
    helpers.drive(core)
    view = hybridnas.load_study("shapes", study_store.url)
    assert isinstance(view, StudyView)
    assert view.counts() == {"ok": 6}
    assert view.front()
    volume = view.hypervolume()
    assert volume is not None
    assert 0 < volume < 1
