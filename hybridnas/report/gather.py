"""The facts of a study, read from the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

import yaml

from ..ablate import Ablation
from ..config import Study
from ..counting import pixels
from ..objectives import is_cost, parted
from ..provenance import VERSION
from ..search.counted import counted_size
from ..search.progress import progress
from ..search.rows import Row, error_kind
from ..search.view import StudyView
from ..search.volume import ideal_point, reference_point
from ..search.words import calibrate_command
from ..space import SearchSpace
from ..store import is_alive
from ..task_defaults import TASK_DEFAULTS
from .choices import possible_choices, read_choices
from .decisions import decision_facts
from .facts import (
    BoundFact,
    CandidateFact,
    DecisionFacts,
    Kind,
    LeaderFact,
    MixerFact,
    ReportFacts,
    ResultFact,
)
from .leader import leader_fact
from .records import (
    calibration_facts,
    cost_fact,
    failure_facts,
    protocol_facts,
    rung_facts,
    session_facts,
    software_facts,
)
from .results import member_fact, published, result_fact
from .run_facts import MomentFact
from .twins import twin_facts


def facts_of(view: StudyView, ablations: Sequence[Ablation] = ()) -> ReportFacts:
    """All that a report says of a study as it stands. ablations: of its trials."""
    study = view.study
    space = SearchSpace.load(study.space)
    cost = next((name for name in view.objectives if is_cost(name)), "macs")
    front = view.front()
    leader = leader_fact(view, front, cost, ablations)
    known = [row for row in view.finished if published(row)]
    runs = [run for row in view.rows for run in row.runs]
    return ReportFacts(
        study=study.name,
        description=study.description,
        read_at=datetime.now(UTC),
        hybridnas=VERSION,
        task=study.task.name,
        score=study.measured,
        split=study.tasks[parted(study.measured)[0]].task.val,
        cost=cost,
        sizes=pixels(counted_size(study)),
        objectives=dict(study.objectives),
        bounds=_bounds(view),
        space=space.name,
        space_size=space.size(),
        num_decisions=len(space.genes),
        sampler=study.sampler.name,
        budget=study.budget.model_dump(exclude_none=True),
        trials=dict(view.counts()),
        results=len(view.finished),
        infeasible=sum(not row.keeps(study.soft()) for row in view.finished),
        retrained=len(view.retrained),
        error_kind=error_kind(front, view.objectives),
        ended=view.sessions[-1].end_reason if view.sessions else None,
        alive=any(is_alive(session, datetime.now(UTC)) for session in view.sessions),
        hypervolume=view.hypervolume(),
        reference=reference_point([view]),
        ideal=ideal_point(view.objectives),
        leader=leader,
        front=tuple(member_fact(view, row) for row in front),
        references=tuple(result_fact(view, row) for row in known),
        others=_others(view, leader, {row.number for row in (*front, *known)}),
        candidates=_candidates(view, front, cost),
        decisions=_decisions(view, space),
        mixers=_mixers(view, front),
        twins=twin_facts(study, ablations),
        moments=_moments(view),
        rungs=rung_facts(view),
        runs=len(runs),
        reused=sum(run.reused for run in runs),
        proposals=sum(session.proposals for session in view.sessions),
        redrawn=sum(session.redrawn for session in view.sessions),
        failures=failure_facts(view),
        cost_so_far=cost_fact(view),
        sessions=session_facts(view),
        calibrations=calibration_facts(view),
        calibrate=calibrate_command(study, space.size()),
        protocols=protocol_facts(view),
        software=software_facts(view),
        yaml=study_yaml(study),
    )


def _others(
    view: StudyView, leader: LeaderFact | None, told: Collection[int]
) -> tuple[ResultFact, ...]:
    """Of those that are named as leading, who is not told of elsewhere."""
    named = [leader.trial, leader.runner_up] if leader else []
    left = [n for n in dict.fromkeys(named) if n is not None and n not in told]
    return tuple(result_fact(view, view.row(number)) for number in left)


def study_yaml(study: Study) -> str:
    """What makes the study, defaults left out but the sampler's, which another version may change;
    short lists and mappings have a line each."""
    said = {"name": study.name, **study.model_dump(mode="json", exclude_defaults=True)}
    said["sampler"] = study.sampler.model_dump(mode="json", exclude_none=True)
    for name, task in study.tasks.items():
        # Of these the default is the task's: classification's would be taken for none.
        known = TASK_DEFAULTS[task.task.name]
        own = said["also"][name] if name else said
        for key, usual in (("task", known.task), ("recipe", known.recipe)):
            if usual:
                full = getattr(task, key).model_dump(mode="json")
                own[key] = {**own.get(key, {}), **{each: full[each] for each in usual}}
    return yaml.safe_dump(
        said, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def _bounds(view: StudyView) -> tuple[BoundFact, ...]:
    return tuple(
        BoundFact(name=name, min=bound.min, max=bound.max, hard=hard)
        for hard, bounds in ((True, view.study.bounds()), (False, view.study.soft()))
        for name, bound in bounds.items()
    )


def _candidates(view: StudyView, front: list[Row], cost: str) -> tuple[CandidateFact, ...]:
    members, soft = {row.number for row in front}, view.study.soft()
    scores = [name for name in view.objectives if not is_cost(name)]
    found = []
    for row in view.finished:
        across = row.known(cost)
        if across is None:
            continue
        kept: Kind = "dominated" if row.keeps(soft) else "infeasible"
        found.append(
            CandidateFact(
                trial=row.number,
                kind="front" if row.number in members else kept,
                published=published(row),
                cost=across,
                scores={name: row.value(name) for name in scores},
            )
        )
    return tuple(found)


def _moments(view: StudyView) -> tuple[MomentFact, ...]:
    """Where the hypervolume rose, and the last one."""
    every = progress(view)
    rises = [m for i, m in enumerate(every) if not i or m.hypervolume > every[i - 1].hypervolume]
    return tuple(MomentFact(**asdict(moment)) for moment in dict.fromkeys([*rises, *every[-1:]]))


def _decisions(view: StudyView, space: SearchSpace) -> tuple[DecisionFacts, ...]:
    """By the search's own scores: those of a retraining are fewer, and less noisy."""
    # A copy would read its architecture once more.
    searched = [replace(row, fresh=()) if row.fresh else row for row in view.finished]
    own, choices = read_choices(space, searched)
    if not own:
        return ()
    scores = [name for name in view.objectives if not is_cost(name)]
    possible = possible_choices(space, choices)
    return tuple(decision_facts(own, choices, possible, score) for score in scores)


def _mixers(view: StudyView, front: list[Row]) -> tuple[MixerFact, ...]:
    on_front, in_all = _shares(front), _shares(view.finished)
    front_with, results_with = _having(front), _having(view.finished)
    return tuple(
        MixerFact(
            stage=stage,
            mixer=mixer,
            front=on_front.get((stage, mixer), 0.0),
            results=share,
            front_with=front_with[stage, mixer],
            results_with=results_with[stage, mixer],
        )
        for (stage, mixer), share in sorted(in_all.items())
    )


def _having(rows: list[Row]) -> Counter[tuple[int, str]]:
    """By stage and mixer: how many architectures have it there."""
    return Counter(
        (i, mixer)
        for row in rows
        for i, stage in enumerate(row.architecture.stages, 1)
        for mixer in {block.mixer_name for block in stage.blocks}
    )


def _shares(rows: list[Row]) -> dict[tuple[int, str], float]:
    """By stage and mixer: the mean over architectures of the share of blocks."""
    found: dict[tuple[int, str], float] = {}
    for row in rows:
        for i, stage in enumerate(row.architecture.stages, 1):
            for block in stage.blocks:
                key = i, block.mixer_name
                found[key] = found.get(key, 0.0) + 1 / (stage.depth * len(rows))
    return found
