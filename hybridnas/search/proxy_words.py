"""What calibrations say of the proxy that a front's scores come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import Fidelity
from ..space import SearchSpace
from ..store import CalibrationRecord
from .view import StudyView
from .words import calibrate_command, fidelity_words


def proxy_lines(view: StudyView) -> list[str]:
    """A line for each fidelity that the study's top one was compared with; or that none was."""
    lines = []
    for known in view.calibrations:
        record = known.record
        assert record.result is not None, "a view has finished calibrations only"
        if known.as_proxy:
            against = f"against {_fidelity(record, 'judge')}: "
        else:
            against = f"{_fidelity(record, 'proxy')} against this fidelity: "
        lines.append(f"proxy: {against}{_words(record.result)}")
    if not any(known.as_proxy for known in view.calibrations):
        command = calibrate_command(view.study, SearchSpace.load(view.study.space).size())
        lines.insert(0, "proxy: not calibrated" + (f" ({command})" if command else ""))
    return lines


def interval(tau: Mapping[str, float] | None) -> str:
    """`0.71 [0.60, 0.80]`; a dash where all scores were equal."""
    return "-" if tau is None else f"{tau['tau']:z.2f} [{tau['low']:z.2f}, {tau['high']:z.2f}]"


def _words(result: Mapping[str, Any]) -> str:
    tau = result["tau"]
    return (
        f"tau {interval(tau['proxy']['overall'])} (95 %) over {result['architectures']} archs, at "
        f"equal MACs {interval(tau['proxy']['equal_macs'])}; params "
        f"{interval(tau['params']['overall'])}, at equal MACs "
        f"{interval(tau['params']['equal_macs'])}; macs {interval(tau['macs']['overall'])}"
    )


def _fidelity(record: CalibrationRecord, side: str) -> str:
    return fidelity_words(Fidelity.model_validate(record.settings[side]))
