"""Everything that can be checked before a search starts, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config import Protocol, Study
from ..data import data_digest, num_classes
from ..errors import ConfigError
from ..space import SearchSpace
from ..store import Store

# What a resumed study may change: when to stop, where to run, who proposes.
_FREE = {"description", "budget", "resources", "sampler", "artifacts", "keep_weights", "references"}


@dataclass(frozen=True)
class Plan:
    """A study whose space, data and constraints were found and fit together."""

    study: Study
    space: SearchSpace
    protocol: Protocol
    num_classes: int

    @property
    def config(self) -> dict[str, Any]:
        """The study as the database keeps it: complete, with its space written out."""
        return {**self.study.model_dump(mode="json"), "space": dict(self.space.spec.raw)}


def make_plan(study: Study) -> Plan:
    """Loads the space and looks at the data; raises SpaceError, DataError or ConfigError."""
    space = SearchSpace.load(study.space)
    protocol = study.protocol(data_digest(study.task))
    return Plan(study, space, protocol, num_classes(study.task))


def register(plan: Plan, store: Store, resume: bool) -> None:
    """Puts the study into the database, or checks that it goes on with what is there.

    Raises ConfigError where it exists and resume is not asked for, or where something was changed
    that would make old and new trials incomparable.
    """
    name = plan.study.name
    known = store.study_config(name)
    if known is not None:
        if not resume:
            raise ConfigError(
                f"study {name!r} is in the database already: go on with --resume, "
                f"or give this one another name (--set name=...)"
            )
        _check_same(plan, known, store)
    store.put_study(name, plan.config)


def _check_same(plan: Plan, known: Mapping[str, Any], store: Store) -> None:
    config = plan.config
    changed = sorted(
        key for key in config.keys() - _FREE - {"task"} if config[key] != known.get(key)
    )
    if changed:
        raise ConfigError(
            f"study {plan.study.name!r} cannot be resumed with another {', '.join(changed)}: its "
            f"trials would not be comparable; start a new study (--set name=...)"
        )
    digests = {record.protocol_digest for record in store.trials(plan.study.name)}
    if digests - {plan.protocol.digest}:
        raise ConfigError(
            f"study {plan.study.name!r} cannot be resumed: its data set or task has changed since "
            f"(protocol {plan.protocol.digest}, its trials have {', '.join(sorted(digests))})"
        )
