"""Facts of how a study ran: rungs, failures, cost, protocols, versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

from ..config import Fidelity
from ..search.spending import gpu_seconds
from ..search.unreadable import TRAIN, VAL, most_unreadable
from ..search.view import StudyView
from ..search.words import fidelity_words
from ..store import Evaluation, RunRecord
from .run_facts import (
    CalibrationFact,
    CostFact,
    FailureFact,
    ProtocolFact,
    RungFact,
    SessionFact,
    SoftwareFact,
    TauFact,
)

_OPTIMIZER = "AdamW"  # hybridnas.train has no other; importing it would import torch


def rung_facts(view: StudyView) -> tuple[RungFact, ...]:
    """The lowest rung first, task by task; the final retraining last."""
    by_place: dict[tuple[int, bool, str], list[RunRecord]] = {}
    for run in _runs(view):
        by_place.setdefault((run.rung, run.repeat > 0, run.task), []).append(run)
    return tuple(
        _rung(view, rung, again, task, runs)
        for (rung, again, task), runs in sorted(by_place.items())
    )


def _rung(view: StudyView, rung: int, again: bool, task: str, runs: list[RunRecord]) -> RungFact:
    ended = [run.evaluation for run in runs if run.evaluation is not None]
    failed = sum(evaluation.status == "failed" for evaluation in ended)
    trained = [run.evaluation for run in runs if not run.reused]
    return RungFact(
        task=task,
        fidelity=fidelity_words(view.study.tasks[task].fidelities[rung]),
        retraining=again,
        began=len(runs),
        ok=len(ended) - failed,
        failed=failed,
        reused=sum(run.reused for run in runs),
        gpu_hours=sum(map(gpu_seconds, trained)) / 3600,
    )


def failure_facts(view: StudyView) -> tuple[FailureFact, ...]:
    """By reason, the commonest first, each with the first message that came with it."""
    ended = [run.evaluation for run in _runs(view) if run.evaluation is not None]
    number = Counter(e.reason for e in ended if e.reason is not None)
    return tuple(
        FailureFact(
            reason=reason,
            number=count,
            message=next((e.message for e in ended if e.reason == reason and e.message), None),
        )
        for reason, count in number.most_common()
    )


def cost_fact(view: StudyView) -> CostFact:
    found, trained = view.cost_so_far(), _trained(view)
    ended = [row for row in view.rows if row.state in ("ok", "failed", "pruned")]
    hours = found["wall_hours"]
    fresh = sum(any(not run.reused for run in row.runs) for row in ended)
    seconds = [taken for e in trained if (taken := e.timing.get("total_s"))]
    return CostFact(
        wall_hours=hours,
        gpu_hours=found["gpu_hours"],
        trainings=len(trained),
        candidates_per_hour=fresh / hours if hours else None,
        seconds_per_training=median(seconds) if seconds else None,
    )


def session_facts(view: StudyView) -> tuple[SessionFact, ...]:
    return tuple(
        SessionFact(
            host=session.host,
            began=session.started_at,
            hours=session.duration_s / 3600,
            ended=session.end_reason,
            proposals=session.proposals,
            redrawn=session.redrawn,
        )
        for session in view.sessions
    )


def calibration_facts(view: StudyView) -> tuple[CalibrationFact, ...]:
    found = []
    for known in view.calibrations:
        record, longer = known.record, known.as_proxy
        against = record.settings["judge" if longer else "proxy"]
        result: Mapping[str, Any] = record.result or {}
        tau = result["tau"]
        found.append(
            CalibrationFact(
                against=fidelity_words(Fidelity.model_validate(against)),
                longer=longer,
                architectures=result["architectures"],
                overall=_tau(tau["proxy"]["overall"]),
                equal_macs=_tau(tau["proxy"]["equal_macs"]),
                params=_tau(tau["params"]["overall"]),
                macs=_tau(tau["macs"]["overall"]),
            )
        )
    return tuple(found)


def _tau(found: Mapping[str, float] | None) -> TauFact | None:
    return None if found is None else TauFact.model_validate(found)


def protocol_facts(view: StudyView) -> tuple[ProtocolFact, ...]:
    """In the order of the runs."""
    runs: dict[str, list[RunRecord]] = {}
    for run in sorted(_runs(view), key=lambda run: (run.task, run.rung, run.repeat)):
        seedless = view.protocols[run.protocol_digest].model_copy(update={"seed": 0})
        runs.setdefault(seedless.digest, []).append(run)
    found = []
    for alike in runs.values():
        digests = dict.fromkeys(run.protocol_digest for run in alike)
        protocol = view.protocols[alike[0].protocol_digest]
        ended = [run.evaluation for run in alike if run.evaluation]
        images = next((n for e in ended if (n := e.metrics.get("num_images"))), None)
        found.append(
            ProtocolFact(
                task=alike[0].task,
                kind=protocol.task.name,
                data=protocol.task.data,
                train=protocol.task.train,
                val=protocol.task.val,
                num_classes=len(protocol.class_names),
                num_images=None if images is None else int(images),
                unreadable=most_unreadable(ended, VAL),
                train_unreadable=most_unreadable(ended, TRAIN),
                train_images=next((n for e in ended if (n := _train_images(e))), None),
                fidelity=fidelity_words(protocol.fidelity),
                init=protocol.init,
                optimizer=_OPTIMIZER,
                recipe=protocol.recipe.model_dump(mode="json"),
                seeds=tuple(sorted({view.protocols[digest].seed for digest in digests})),
                digests=tuple(digests),
                runs=len(alike),
            )
        )
    return tuple(found)


def _train_images(evaluation: Evaluation) -> int | None:
    """Of an epoch: its time by its rate, for their number itself is not recorded."""
    known = [(e.get("seconds"), e.get("images_per_second")) for e in evaluation.curve]
    return max((round(s * rate) for s, rate in known if s and rate), default=None)


def software_facts(view: StudyView) -> tuple[SoftwareFact, ...]:
    """What was trained here, by versions and machine; the most first."""
    alike: dict[tuple[Any, ...], list[Evaluation]] = {}
    for evaluation in _trained(view):
        device = evaluation.machine.get("device")
        key = (*sorted(evaluation.versions.items()), evaluation.git_commit, device)
        alike.setdefault(key, []).append(evaluation)
    return tuple(
        SoftwareFact(
            versions=dict(same[0].versions),
            git_commit=same[0].git_commit,
            device=str(device) if (device := same[0].machine.get("device")) else None,
            hosts=tuple(sorted({str(host) for e in same if (host := e.machine.get("host"))})),
            evaluations=len(same),
        )
        for same in sorted(alike.values(), key=len, reverse=True)
    )


def _runs(view: StudyView) -> list[RunRecord]:
    return [run for row in view.rows for run in row.runs]


def _trained(view: StudyView) -> list[Evaluation]:
    return [run.evaluation for run in _runs(view) if run.evaluation and not run.reused]
