"""The stages of an architecture as a table, counted as its study counts them."""

from __future__ import annotations

import csv
import io

from ..architecture import Architecture
from ..config import Study
from ..counting import in_units
from ..search.counted import counted_cost

_COLUMNS = ("stage", "blocks", "width", "window", "tokens", "L / 6D", "params", "MACs", "share")


def stage_table(study: Study, architecture: Architecture, num_classes: int) -> list[list[str]]:
    """Names of the columns, then stem, stages, head and total."""
    known = counted_cost(study, architecture, num_classes)
    rows = [[*_COLUMNS]]

    def add(words: list[str], params: int, macs: int) -> None:
        rows.append([*words, in_units(params), in_units(macs), f"{100 * macs / known.macs:.1f} %"])

    add(["stem", "", "", "", "", ""], known.stem.params, known.stem.macs)
    for stage, figures in zip(architecture.stages, known.stages, strict=True):
        window = "" if stage.window is None else str(stage.window)
        ratio = f"{figures.long_sequence_ratio:.2f}"
        words = [stage.short, str(stage.width), window, f"{figures.tokens:,}", ratio]
        add([str(figures.stage), *words], figures.params, figures.macs)
    add(["head", "", "", "", "", ""], known.head.params, known.head.macs)
    add(["total", architecture.short, "", "", "", ""], known.params, known.macs)
    return rows


def stages_csv(study: Study, architecture: Architecture, num_classes: int) -> str:
    """The same as a file, for the page to show as a table."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(stage_table(study, architecture, num_classes))
    return out.getvalue()
