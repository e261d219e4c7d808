"""Facts of single results."""

from __future__ import annotations

from ..objectives import is_cost
from ..pictures import draw
from ..reference import PUBLISHED
from ..search.counted import counted_cost
from ..search.rows import Row
from ..search.view import StudyView
from .facts import MemberFact, ResultFact, StageFact


def published(row: Row) -> str | None:
    """The reference architecture that a trial is."""
    return PUBLISHED.get(row.digest)


def result_fact(view: StudyView, row: Row) -> ResultFact:
    errors = {n: row.error(n) for n in view.objectives if not is_cost(n)}
    return ResultFact(
        trial=row.number,
        arch=row.digest,
        stages=row.architecture.short,
        published=published(row),
        values={name: row.value(name) for name in view.objectives},
        errors={name: error for name, error in errors.items() if error is not None},
        seeds=row.seeds,
        params=row.metrics.get("params"),
        reused=row.reused,
    )


def member_fact(view: StudyView, row: Row) -> MemberFact:
    known = counted_cost(view.study, row.architecture, view.num_classes)
    return MemberFact(
        **result_fact(view, row).model_dump(),
        layout=tuple(
            StageFact(
                stage=figures.stage,
                mixers=stage.short,
                width=stage.width,
                tokens=figures.tokens,
                long_sequence_ratio=figures.long_sequence_ratio,
                macs_share=figures.macs / known.macs,
            )
            for stage, figures in zip(row.architecture.stages, known.stages, strict=True)
        ),
        network=row.architecture.to_dict(),
    )


def pictures(view: StudyView) -> dict[int, str]:
    """The front's members as SVG, by trial."""
    return {
        row.number: draw(
            row.architecture,
            counted_cost(view.study, row.architecture, view.num_classes),
            f"{view.study.name}:{row.number}",
        )
        for row in view.front()
    }
