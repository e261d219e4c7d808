"""What a study would do, said before it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..config import Study
from ..counting import pixels
from ..errors import NoDatabaseError
from ..store import Store
from .common import fidelity_words, in_units, objective_text, print_facts, print_json
from .costs import HEADS

if TYPE_CHECKING:
    from ..search.ladder import Rung
    from ..search.plan import Plan


def share_of(plan: Plan, ray: str | None) -> str:
    """What a candidate would get here; unknown of a cluster."""
    from ..search.machine import fit, this_machine

    return "that of the cluster" if ray else fit(plan.study.resources, [this_machine()]).words


def place_of(plan: Plan, storage: str, resume: bool) -> str:
    """What the database says to the study; HybridnasError where it could not run."""
    from ..search.plan import check_registered

    try:
        with Store.open(storage, create=False) as store:
            known = check_registered(plan, store, resume)
            return "goes on with what is there" if known else "a new study"
    except NoDatabaseError as error:
        return f"a new database ({error})"


def print_plan(plan: Plan, share: str, place: str, as_json: bool) -> None:
    """What `hybridnas search --dry-run` says. share, place: see share_of and place_of."""
    from ..search.ladder import ladder
    from ..search.plan import counted_size, survey

    study: Study = plan.study
    rungs = ladder(plan)
    found: dict[str, Any] = {
        "study": study.name,
        "space": plan.space.name,
        "size": plan.space.size(),
        "genes": len(plan.space.genes),
        **survey(plan),
        "task": study.task.name,
        "data": study.task.data,
        "classes": plan.num_classes,
        "protocol": plan.protocol.digest,
        "fidelities": [
            {**rung.fidelity.model_dump(), "images": rung.images, "image_macs": rung.image_macs}
            for rung in rungs
        ],
        "latency": study.latency and study.latency.model_dump(),
        "budget": study.budget.model_dump(exclude_none=True),
        "sampler": study.sampler.name,
        "resources": share,
        "database": place,
    }
    if as_json:
        print_json(found)
        return
    bounds = study.constraints.bounds()
    limits = [
        f"{name} {word} {objective_text(name, value)}"
        for name, bound in bounds.items()
        for word, value in (("at least", bound.min), ("at most", bound.max))
        if value is not None
    ]
    kept = f"{100 * found['feasible_share']:.0f} % of random draws keep them"
    head = HEADS.get(study.task.name, "")
    smallest, median = in_units(found["smallest_macs"]), in_units(found["median_macs"])
    print_facts(
        f"{study.name} would run (nothing was written)",
        [
            (
                "space",
                f"{plan.space.name}: {found['size']:.2e} architectures, {found['genes']} decisions",
            ),
            ("MACs", f"from {smallest}, median {median}, at {pixels(counted_size(study))}{head}"),
            ("constraints", f"{', '.join(limits)}; {kept}" if limits else "none"),
            ("objectives", ", ".join(f"{d} {name}" for name, d in study.objectives.items())),
            ("task", f"{study.task.name} of {study.task.data}, {plan.num_classes} classes"),
            ("training", _training(study, rungs)),
            *([("latency", f"{study.latency.setting}")] if study.latency else []),
            ("sampler", study.sampler.name),
            ("budget", ", ".join(f"{name} {value:g}" for name, value in found["budget"].items())),
            ("resources", share),
            ("database", place),
            ("protocol", plan.protocol.digest),
        ],
    )


def _training(study: Study, rungs: Sequence[Rung]) -> str:
    """A line a rung, and which of them a search evaluates at."""
    lines = [
        f"{fidelity_words(rung.fidelity)}, batches of {study.recipe.batch_size}: "
        f"{rung.images:,} images x {in_units(rung.macs)} MACs (median) = "
        f"{in_units(rung.image_macs)}"
        for rung in rungs
    ]
    if len(rungs) > 1:
        lines.append(
            "a search evaluates at the last of these; the others serve `hybridnas calibrate`"
        )
    return "\n".join(lines)
