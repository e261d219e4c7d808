"""Which calibrations speak of a study's own training."""

from __future__ import annotations

from collections.abc import Iterable
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


def calibrated(store: Store, study: str, protocols: Iterable[Protocol]) -> list[Calibrated]:
    """The latest of each pair of trainings of which one is among the study's, whatever the seeds.

    Only those whose architectures are of the study's space: a training may rank the architectures
    of one space well and of another badly.
    """
    own = {protocol.seedless().digest for protocol in protocols}
    config = store.study_config(study)
    space = None if config is None else config["space"]
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
