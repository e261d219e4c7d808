"""A study in the database before it runs: a new one, or one that goes on with what is there."""

from __future__ import annotations

from ..errors import ConfigError
from ..store import Store
from .early import check_lengths, check_unchanged, known_config
from .plan import Plan, run_protocol


def check_registered(plan: Plan, store: Store, resume: bool) -> bool:
    """Whether the study goes on with what the database has of it; nothing is written: what it may
    change is, once the session has begun and nobody else runs it (`run_study`).

    A study without a trial yet (Ray could not be started, say) is as good as new. Raises
    ConfigError where it exists and resume is not asked for, where something was changed that would
    make old and new trials incomparable, for the name of a twin test's or a calibration's, and of
    a new study as `check_lengths`.
    """
    name = plan.study.name
    known = known_config(name, store, resume)
    if known is None:
        check_lengths(plan.study)
        return False
    check_unchanged(name, plan.config, known)
    _check_terms(plan, store)
    return True


def _check_terms(plan: Plan, store: Store) -> None:
    """Whether its trials were evaluated on the data that there are now."""
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
