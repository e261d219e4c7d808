"""How far the scores of two trainings, MACs and parameters agree on the order of architectures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..architecture import Architecture
from ..objectives import loss_sign
from ..rank_correlation import Floats, Tau, tau_with_interval
from ..store import Evaluation
from .feasibility import Costs


@dataclass(frozen=True, slots=True)
class Judged:
    """An architecture with its evaluations at both fidelities, one a seed."""

    architecture: Architecture
    costs: Costs
    proxy: Sequence[Evaluation]
    judge: Sequence[Evaluation]


def agreement(members: Sequence[Judged], metric: str) -> dict[str, Any]:
    """Kendall's tau of the proxy's scores with the judge's, and of params and macs with them.

    Overall and at equal MACs (`tau_with_interval` given log MACs); a tau is None where one side's
    scores are all equal. between_seeds: of the judge's first two seeds, None with one seed; it is
    no bound, since a proxy with less noise may agree better. seconds: of a training, in the mean.
    Of several seeds the mean counts.
    """
    proxy, judge = (
        np.array([_mean(getattr(member, side), metric) for member in members])
        for side in ("proxy", "judge")
    )
    macs, params = (
        np.array([member.costs[name] for member in members], dtype=float)
        for name in ("macs", "params")
    )
    better = -loss_sign(metric)
    return {
        "architectures": len(members),
        "tau": {
            "proxy": _taus(proxy, judge, np.log(macs)),
            "params": _taus(better * params, judge, np.log(macs)),
            "macs": {"overall": _json(tau_with_interval(better * macs, judge))},
        },
        "between_seeds": _between_seeds(members, metric),
        "seconds": {
            side: float(np.mean([_seconds(getattr(member, side)) for member in members]))
            for side in ("proxy", "judge")
        },
        "scores": [
            {
                "arch": member.architecture.digest,
                "stages": member.architecture.short,
                "macs": member.costs["macs"],
                "params": member.costs["params"],
                "proxy": float(low),
                "judge": float(high),
            }
            for member, low, high in zip(members, proxy, judge, strict=True)
        ],
    }


def _score(evaluation: Evaluation, metric: str) -> float:
    value = evaluation.metrics[metric]
    assert value is not None, "evaluations without a score were left out"
    return value


def _mean(evaluations: Sequence[Evaluation], metric: str) -> float:
    return float(np.mean([_score(evaluation, metric) for evaluation in evaluations]))


def _seconds(evaluations: Sequence[Evaluation]) -> float:
    return float(np.mean([e.timing.get("total_s") or 0.0 for e in evaluations]))


def _taus(x: Floats, judge: Floats, log_macs: Floats) -> dict[str, Any]:
    return {
        "overall": _json(tau_with_interval(x, judge)),
        "equal_macs": _json(tau_with_interval(x, judge, log_macs)),
    }


def _between_seeds(members: Sequence[Judged], metric: str) -> dict[str, float] | None:
    if len(members[0].judge) < 2:
        return None
    first, second = (
        np.array([_score(member.judge[seed], metric) for member in members]) for seed in (0, 1)
    )
    return _json(tau_with_interval(first, second))


def _json(tau: Tau | None) -> dict[str, float] | None:
    return None if tau is None else asdict(tau)
