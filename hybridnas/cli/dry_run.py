"""What a study would do, said before it does."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ..config import Final, Study
from ..counting import in_size, number_of, pixels
from ..errors import NoDatabaseError
from ..search.cluster import LOCAL, address_of
from ..search.words import FINALISTS, time_words
from ..space_idle import idle_decisions, idle_words
from ..store import Store
from .common import bound_words, fidelity_words, in_units, print_facts, print_json
from .costs import HEADS

if TYPE_CHECKING:
    from ..search.forecast import Forecast, Step
    from ..search.ladder import Rung
    from ..search.plan import Plan

    Rungs = Mapping[str, Sequence[Rung]]  # of each task, by its name


@dataclass(frozen=True)
class Here:
    """What a study would find. share: what a candidate gets. place: what the database says to the
    study. free_name: of a study to try something with, which the database has not."""

    share: str
    place: str
    forecast: Forecast
    free_name: str


def look_around(plan: Plan, storage: str, resume: bool, ray: str | None) -> Here:
    """Of a cluster nothing is known. HybridnasError where the study could not run."""
    from ..search.forecast import Past, forecast
    from ..search.machine import device_here, share_of, share_words, this_machine
    from ..search.registration import check_registered

    share = share_of(plan.study, [this_machine()]) if address_of(ray) == LOCAL else None
    at_once, device = (share.concurrent, device_here(share)) if share else (None, None)
    names = list[str]()
    try:
        with Store.open(storage, create=False) as store:
            known = check_registered(plan, store, resume)
            place = "goes on with what is there" if known else "a new study"
            names = store.study_names()
            found = forecast(plan, at_once, Past(store), device)
    except NoDatabaseError as error:
        place, found = f"a new database ({error})", forecast(plan, at_once, None)
    trial = free_name("try", {*names, plan.study.name})
    if share is None:
        return Here("that of the cluster", place, found, trial)
    if not share.gpus:
        found = replace(found, gpu_hours_left=None)
    return Here(share_words(plan.study, share), place, found, trial)


def free_name(wanted: str, taken: Collection[str]) -> str:
    """`try`, or the first of `try-2`, `try-3`, ... that is not taken."""
    names = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)


def print_plan(plan: Plan, here: Here, as_json: bool) -> None:
    """What `hybridnas search --dry-run` says."""
    from ..search.forecast import few_trials
    from ..search.ladder import ladder

    rungs = {name: ladder(one) for name, one in plan.tasks.items()}
    found = _as_json(plan, rungs) | {"resources": here.share, "database": here.place}
    if as_json:
        print_json({**found, "forecast": _forecast_json(here.forecast)})
        return
    few = f"budget.trials={few_trials(plan.study)}"
    settings = [f"name={here.free_name}", few, *(["final=null"] if plan.study.final else [])]
    facts = [*_facts(plan, rungs, found), ("time", time_forecast(here.forecast, settings))]
    print_facts(f"{plan.study.name} would run (nothing was written)", facts)


def _forecast_json(forecast: Forecast) -> dict[str, Any]:
    steps = [{**asdict(step), "fidelity": step.fidelity.model_dump()} for step in forecast.steps]
    return {**asdict(forecast), "steps": steps, "hours": forecast.hours}


def time_forecast(found: Forecast, settings: Sequence[str]) -> str:
    """How long it would take; or that nobody knows, and how to find out. settings: of the study
    that does."""
    from ..search.forecast import course_words

    steps = [step for step in found.steps if step.number != 0]
    limit, gpu_limit, hours = found.hours_left, found.gpu_hours_left, found.hours
    if 0 in (limit, gpu_limit) or not any(
        step.number != 0 or step.known_now for step in found.steps
    ):
        return "none: the budget is spent"
    if not steps:
        return "none: all that would be trained is known"
    lines = []
    if hours is not None and found.at_once is not None:
        lines.append(f"about {course_words(hours, found.at_once, found.seconds_to_begin)}")
    if limit is not None and (hours is None or limit < hours):
        lines.append(f"at most {time_words(limit)}, the budget of hours")
    if gpu_limit is not None:
        lines.append(f"at most {time_words(gpu_limit)} of GPU time, the budget of gpu_hours")
    lines.append(", then ".join(map(_trainings, steps)))
    if any(step.seconds is None for step in steps):
        lines.append(
            f"the database has none of that kind; to find out, train a few: the same command with "
            f"{' '.join(f'--set {each}' for each in settings)} in the place of --dry-run; then ask "
            f"again"
        )
    elif found.at_once is None:
        lines.append("how many at once is up to the cluster")
    return "\n".join(lines)


def _trainings(step: Step) -> str:
    """`24 trainings of about 12 s (by 30 in the database, on NVIDIA H200)`"""
    number = "trainings"
    if step.number is not None:
        number = number_of(step.number + step.known_now, "training")
        number += f", {step.known_now:,} known, the others" * (step.known_now > 0)
    fewer = "; fewer where proposals are known already, which are looked up" * step.may_be_fewer
    if step.seconds is None:
        return f"{number} of unknown length{fewer}"
    kind = f"by {step.known:,} in the database, on {', '.join(step.devices)}"
    return f"{number} of about {time_words(step.seconds / 3600)} ({kind}){fewer}"


def _as_json(plan: Plan, rungs: Rungs) -> dict[str, Any]:
    from ..search.ladder import candidates
    from ..search.plan import fitting_references, survey

    study: Study = plan.study
    numbers = candidates(study, references=len(fitting_references(plan)))
    return {
        "study": study.name,
        "space": plan.space.name,
        "size": plan.space.size(),
        "genes": len(plan.space.genes),
        "idle": idle_decisions(plan.space.spec),
        **survey(plan),
        **_task_as_json(plan, rungs[""], numbers),
        "also": {name: _task_as_json(one, rungs[name], numbers) for name, one in plan.also.items()},
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
    from ..search.ladder import left_out

    study: Study = plan.study
    limits, soft = bound_words(study.bounds()), bound_words(study.soft())
    kept = f"{100 * found['feasible_share']:.0f} % of random draws keep them"
    head = HEADS.get(study.task.name, "")
    macs = {name: in_units(found[f"{name}_macs"]) for name in ("smallest", "median", "largest")}
    of_macs = f"from {macs['smallest']} to {macs['largest']}, median {macs['median']}"
    size = f"{in_size(found['size'])} architectures, {number_of(found['genes'], 'decision')}"
    left = left_out(plan)
    numbers = [each["candidates"] for each in found["fidelities"]]
    own, *others = ((n, p, _training(study, p, rungs[n], numbers)) for n, p in plan.tasks.items())
    broken = f"{soft}; who breaks this is trained, and on no front"
    return [
        ("space", "\n".join([f"{plan.space.name}: {size}", *idle_words(plan.space.spec)])),
        ("MACs", f"{of_macs}, at {pixels(counted_size(study))}{head}"),
        ("constraints", f"{limits}; {kept}" if limits else "none"),
        *([("measured", broken)] if soft else []),
        ("objectives", ", ".join(f"{d} {name}" for name, d in study.objectives.items())),
        ("task", _task(plan)),
        ("training", own[2]),
        *((f"also {name}", f"{_task(one)}\n{training}") for name, one, training in others),
        *([("left out", "\n".join(left))] if left else []),
        *([("at the end", _retraining(study.final))] if study.final else []),
        *([("latency", study.latency.setting)] if study.latency else []),
        ("sampler", study.sampler.name),
        ("budget", ", ".join(f"{name} {value:g}" for name, value in found["budget"].items())),
        ("resources", found["resources"]),
        ("database", found["database"]),
        ("protocol", plan.protocol.digest),
    ]


def _training(
    study: Study, plan: Plan, rungs: Sequence[Rung], numbers: Sequence[int | None]
) -> str:
    """A line a rung, and how many candidates it sees. plan: of one of the study's tasks."""
    lines = [
        f"{fidelity_words(rung.fidelity)}, batches of {plan.study.recipe.batch_size}: "
        f"{number_of(rung.images, 'image')} x {in_units(rung.macs)} MACs (median) = "
        f"{in_units(rung.image_macs)}{_goes_on(study, place, numbers)}"
        for place, rung in enumerate(rungs)
    ]
    return "\n".join(lines)


def _task(plan: Plan) -> str:
    task = plan.study.task
    return f"{task.name} of {task.data}, {plan.num_classes} classes"


def _retraining(final: Final) -> str:
    return (
        f"the best {final.retrain} ({FINALISTS}) again with "
        f"{number_of(final.seeds, 'fresh seed')} each, on top of the trials, within hours and "
        f"gpu_hours"
    )


def _goes_on(study: Study, rung: int, numbers: Sequence[int | None]) -> str:
    """numbers: of candidates, a rung each."""
    number = numbers[rung]
    if len(study.fidelities) == 1:
        return ""
    words = [] if number is None else [number_of(number, "candidate")]
    if rung == len(study.rates):
        words.append("whose scores count")
    elif (above := numbers[rung + 1]) is not None:
        words.append(f"{above:,} of them go on")
    else:
        words.append(f"{100 * study.rates[rung]:.0f} % go on")
    return f"; {', '.join(words)}"
