"""Searching: a study in the database, proposals from Optuna, work on Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .observer import Observer
    from .view import StudyView

DEFAULT_STORAGE = "sqlite:///hybridnas.db"


def search(
    study: str | Path | Mapping[str, Any],
    *,
    storage: str = DEFAULT_STORAGE,
    resume: bool = False,
    settings: Iterable[str] = (),
    ray_address: str | None = None,
    observer: Observer | None = None,
) -> StudyView:
    """Runs a study and returns what it found.

    study: a YAML file, the name of a shipped study, or the YAML's content as a mapping.
    storage: the database; SQLite is made where there is none. resume: go on with a study that is
    in the database, where its name will do for `study`. settings: `key.sub=value` overrides of the
    YAML. ray_address: of a cluster; None starts Ray here. Raises HybridnasError for bad input,
    before anything is written.
    """
    from ..store import Store
    from .asked import asked_for

    wanted = asked_for(study, storage, resume, list(settings))
    # These import torch and Ray: what was refused did not wait for them.
    from .cluster import check_reachable
    from .driver import run_study
    from .machine import check_here
    from .plan import make_plan
    from .registration import check_registered
    from .view import StudyView

    plan = make_plan(wanted)
    check_reachable(ray_address)
    check_here(plan.study, ray_address)
    with Store.open(storage) as store:
        check_registered(plan, store, resume)
        run_study(plan, store, ray_address=ray_address, observer=observer)
        return StudyView(plan.study.name, store)


def load_study(name: str, storage: str = DEFAULT_STORAGE) -> StudyView:
    """A study out of a database, for reading: trials, front, best, hypervolume."""
    from ..store import Store
    from .view import StudyView

    with Store.open(storage, create=False) as store:
        return StudyView(name, store)
