"""A study in the database before it runs: a new one, or one that goes on with what is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import parent_study, parse_study
from ..errors import ConfigError
from ..store import Store
from .plan import Plan, run_protocol
from .studies import has_trials

# What a resumed study may change: when to stop, where to run, who proposes.
_FREE = {
    *("description", "budget", "halving", "final", "resources", "sampler"),
    *("artifacts", "keep_weights", "references"),
}


def register(plan: Plan, store: Store, resume: bool) -> None:
    """Puts a new study into the database, or checks that it goes on with what is there.

    What it may change is written only when the session has begun and nobody else runs it
    (`run_study`). Raises ConfigError as `check_registered` does.
    """
    check_registered(plan, store, resume)
    if store.study_config(plan.study.name) is None:
        store.put_study(plan.study.name, plan.config)


def check_registered(plan: Plan, store: Store, resume: bool) -> bool:
    """Whether the database has the study; nothing is written.

    A study without a trial yet (Ray could not be started, say) is as good as new. Raises
    ConfigError where it exists and resume is not asked for, where something was changed that would
    make old and new trials incomparable, and for the name of a twin test's or a calibration's.
    """
    name = plan.study.name
    if parent_study(name) is not None:
        raise ConfigError(
            f"study {name!r}: what is called so holds the trainings of a twin test or a "
            f"calibration, and the command that began it (`hybridnas ablate`, `hybridnas "
            f"calibrate`) goes on with them; a search takes another name (--set name=...)"
        )
    known = store.study_config(name)
    if known is None or not has_trials(store, name, resume):
        return False
    _check_same(plan, known, store)
    return True


def _check_same(plan: Plan, known: Mapping[str, Any], store: Store) -> None:
    now, then = plan.config, parse_study(known, "the database").model_dump(mode="json")
    for config in (now, then):  # where a table lies does not matter, what it holds does
        config["latency"] = config["latency"] and config["latency"]["sha256"]
        for other in config["also"].values():  # nor where data lie: see the digests below
            del other["task"]
    changed = sorted(key for key in now.keys() - _FREE - {"task"} if now[key] != then[key])
    if list(now["objectives"]) != list(then["objectives"]):
        changed = sorted({*changed, "objectives"})  # their order is that of the stored values
    if list(now["also"]) != list(then["also"]):
        changed = sorted({*changed, "also"})  # a trial between two tasks goes on in their order
    if changed:
        raise ConfigError(
            f"study {plan.study.name!r} cannot be resumed with changed {', '.join(changed)}: its "
            f"trials would not be comparable; go on with what it began with by its name, "
            f"`hybridnas search {plan.study.name} --resume`, or start a new one (--set name=...)"
        )
    terms = store.terms(plan.study.name)
    digests = {digest for digest, _ in terms}
    if digests - {run_protocol(plan, place).digest for _, place in terms}:
        name, data = plan.study.name, ", ".join(one.study.task.data for one in plan.tasks.values())
        raise ConfigError(
            f"study {name!r} cannot be resumed: its data set or task has changed since ({data}; "
            f"protocol {plan.protocol.digest}, its trials have {', '.join(sorted(digests))}); put "
            f"the data back as they were, or start a new one (--set name=..., or the same name "
            f"after `hybridnas db delete {name}`)"
        )
