"""Which calibrations speak of a study's own training."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from ..config import Protocol
from ..errors import ConfigError
from ..store import CalibrationRecord, Store
from .studies import protocol_of


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A finished calibration. as_proxy: whether a study's own training is what it judged; else it
    is what another was judged by."""

    record: CalibrationRecord
    as_proxy: bool


def calibrated(store: Store, space: object, protocols: Iterable[Protocol]) -> list[Calibrated]:
    """The latest of each pair of trainings of which one is among these, whatever the seeds.

    space: of a study, as its config has it; only calibrations with architectures of it count: a
    training may rank those of one space well and of another badly.
    """
    own = {protocol.seedless().digest for protocol in protocols}
    found: dict[tuple[str, str], Calibrated] = {}
    for record in store.calibrations() if own else ():
        theirs = store.study_config(record.study)
        if record.result is None or theirs is None or theirs["space"] != space:
            continue
        try:
            proxy, judge = (
                protocol_of(store, digest).seedless().digest
                for digest in (record.proxy_digest, record.judge_digest)
            )
        except ConfigError:  # of a later version of hybridnas, so none of this study's
            continue
        if own & {proxy, judge}:
            found[proxy, judge] = Calibrated(record, proxy in own)
    return sorted(found.values(), key=lambda known: known.record.id)


def calibrated_study(store: Store, study: str) -> list[Calibrated]:
    """Those that speak of any training of a study, at its lower rungs, too. None for an unknown
    study."""
    config, protocols = store.study_config(study), []
    for digest in {digest for digest, _ in store.terms(study)}:
        with suppress(ConfigError):  # of a later version of hybridnas
            protocols.append(protocol_of(store, digest))
    return [] if config is None else calibrated(store, config["space"], protocols)
