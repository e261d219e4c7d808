"""What a study would do, said before it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..config import Final, Study
from ..counting import in_size, pixels
from ..errors import NoDatabaseError
from ..store import Store
from .common import bound_words, fidelity_words, in_units, print_facts, print_json
from .costs import HEADS

if TYPE_CHECKING:
    from ..search.ladder import Rung
    from ..search.plan import Plan

    Rungs = Mapping[str, Sequence[Rung]]  # of each task, by its name


def share_words(plan: Plan, ray: str | None) -> str:
    """What a candidate would get here; unknown of a cluster."""
    from ..search.machine import share_of, this_machine

    return "that of the cluster" if ray else share_of(plan.study, [this_machine()]).words


def place_of(plan: Plan, storage: str, resume: bool) -> str:
    """What the database says to the study; HybridnasError where it could not run."""
    from ..search.registration import check_registered

    try:
        with Store.open(storage, create=False) as store:
            known = check_registered(plan, store, resume)
            return "goes on with what is there" if known else "a new study"
    except NoDatabaseError as error:
        return f"a new database ({error})"


def print_plan(plan: Plan, share: str, place: str, as_json: bool) -> None:
    """What `hybridnas search --dry-run` says. share, place: see share_words and place_of."""
    from ..search.ladder import ladder

    rungs = {name: ladder(one) for name, one in plan.tasks.items()}
    found = _as_json(plan, rungs) | {"resources": share, "database": place}
    if as_json:
        print_json(found)
    else:
        print_facts(
            f"{plan.study.name} would run (nothing was written)", _facts(plan, rungs, found)
        )


def _as_json(plan: Plan, rungs: Rungs) -> dict[str, Any]:
    from ..search.plan import survey

    study: Study = plan.study
    return {
        "study": study.name,
        "space": plan.space.name,
        "size": plan.space.size(),
        "genes": len(plan.space.genes),
        **survey(plan),
        **_task_as_json(plan, rungs[""], candidates(study)),
        "also": {
            name: _task_as_json(one, rungs[name], candidates(study))
            for name, one in plan.also.items()
        },
        "rates": list(study.rates),
        "final": study.final and study.final.model_dump(),
        "latency": study.latency and study.latency.model_dump(),
        "budget": study.budget.model_dump(exclude_none=True),
        "sampler": study.sampler.name,
    }


def _task_as_json(
    plan: Plan, rungs: Sequence[Rung], numbers: Sequence[int | None]
) -> dict[str, Any]:
    return {
        "task": plan.study.task.name,
        "data": plan.study.task.data,
        "classes": plan.num_classes,
        "protocol": plan.protocol.digest,
        "fidelities": [
            {
                **rung.fidelity.model_dump(),
                "images": rung.images,
                "image_macs": rung.image_macs,
                "candidates": number,
            }
            for rung, number in zip(rungs, numbers, strict=True)
        ],
    }


def _facts(plan: Plan, rungs: Rungs, found: Mapping[str, Any]) -> list[tuple[str, object]]:
    """As people read it. found: what is said as JSON."""
    from ..search.counted import counted_size

    study: Study = plan.study
    limits, soft = bound_words(study.bounds()), bound_words(study.soft())
    kept = f"{100 * found['feasible_share']:.0f} % of random draws keep them"
    head = HEADS.get(study.task.name, "")
    smallest, median = in_units(found["smallest_macs"]), in_units(found["median_macs"])
    size = f"{in_size(found['size'])} architectures, {found['genes']} decisions"
    also = plan.also.items()
    broken = f"{soft}; who breaks this is trained, and on no front"
    return [
        ("space", f"{plan.space.name}: {size}"),
        ("MACs", f"from {smallest}, median {median}, at {pixels(counted_size(study))}{head}"),
        ("constraints", f"{limits}; {kept}" if limits else "none"),
        *([("measured", broken)] if soft else []),
        ("objectives", ", ".join(f"{d} {name}" for name, d in study.objectives.items())),
        ("task", _task(plan)),
        ("training", _training(study, plan, rungs[""])),
        *((f"also {name}", f"{_task(p)}\n{_training(study, p, rungs[name])}") for name, p in also),
        *([("at the end", _retraining(study.final))] if study.final else []),
        *([("latency", study.latency.setting)] if study.latency else []),
        ("sampler", study.sampler.name),
        ("budget", ", ".join(f"{name} {value:g}" for name, value in found["budget"].items())),
        ("resources", found["resources"]),
        ("database", found["database"]),
        ("protocol", plan.protocol.digest),
    ]


def candidates(study: Study) -> list[int | None]:
    """How many candidates each rung sees, the lowest first, when the trials are what ends the
    search; references left aside, which are trained at every rung. None: nobody can tell."""
    if study.budget.trials is None:
        return [None] * len(study.fidelities)
    from ..search.halving import quota

    seen = [study.budget.trials]
    for rate in study.rates:
        seen.append(quota(rate, seen[-1]))
    return [*seen]


def _training(study: Study, plan: Plan, rungs: Sequence[Rung]) -> str:
    """A line a rung, and how many candidates it sees. plan: of one of the study's tasks."""
    lines = [
        f"{fidelity_words(rung.fidelity)}, batches of {plan.study.recipe.batch_size}: "
        f"{rung.images:,} images x {in_units(rung.macs)} MACs (median) = "
        f"{in_units(rung.image_macs)}{_goes_on(study, place)}"
        for place, rung in enumerate(rungs)
    ]
    return "\n".join(lines)


def _task(plan: Plan) -> str:
    task = plan.study.task
    return f"{task.name} of {task.data}, {plan.num_classes} classes"


def _retraining(final: Final) -> str:
    return (
        f"the best {final.retrain} again with {final.seeds} fresh seeds each, on top of the "
        f"trials, within hours and gpu_hours"
    )


def _goes_on(study: Study, rung: int) -> str:
    if len(study.fidelities) == 1:
        return ""
    number = candidates(study)[rung]
    words = [] if number is None else [f"{number} candidate{'s' * (number != 1)}"]
    last = rung == len(study.rates)
    words.append("whose scores count" if last else f"{100 * study.rates[rung]:.0f} % go on")
    return f"; {', '.join(words)}"
