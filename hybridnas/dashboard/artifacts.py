"""Files of a trial, which the page shows beside it: its picture, its stages, its trainings.

They are made when they are asked for, from what the database holds then; nothing is written.
"""

from __future__ import annotations

import io
import json
from typing import Any, BinaryIO

from optuna.artifacts.exceptions import ArtifactNotFound

from ..architecture import Architecture
from ..config import Fidelity, Protocol, Study, parse_study
from ..objectives import is_cost, parted
from ..pictures import draw
from ..pictures.curves import Curve, draw_curves
from ..search.counted import counted_cost
from ..search.problem import figure_of
from ..search.studies import protocol_of
from ..search.words import bound_words, objective_text, run_words
from ..store import RunRecord, Store, TrialRecord
from .stages import stages_csv

_FILES = {
    "architecture.svg": "image/svg+xml",
    "training.svg": "image/svg+xml",
    "stages.csv": "text/csv",
}


def listed(study_id: int, number: int) -> dict[str, str]:
    """What Optuna's system attributes would say of a trial's files."""
    found = {}
    for i, (name, kind) in enumerate(_FILES.items()):
        artifact = f"{study_id:x}-{number:x}-{i}"
        about = {"artifact_id": artifact, "filename": name, "mimetype": kind, "encoding": None}
        found[f"artifacts:{artifact}"] = json.dumps(about)
    return found


def pictures(study_id: int, trial_id: int, number: int) -> list[str]:
    """Where the page finds a trial's pictures."""
    return [
        f"/artifacts/{study_id}/{trial_id}/{study_id:x}-{number:x}-{i}"
        for i, kind in enumerate(_FILES.values())
        if kind.startswith("image")
    ]


class TrialFiles:
    """An artifact store of Optuna's kind that holds nothing and makes everything."""

    def __init__(self, store: Store, names: dict[int, str]) -> None:
        """names: of studies, by Optuna's ids; may grow."""
        self._store, self._names = store, names

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Raises ArtifactNotFound for what `listed` does not list."""
        try:
            study_id, number, kind = (int(part, 16) for part in artifact_id.split("-"))
            name, file = self._names[study_id], [*_FILES][kind]
        except (ValueError, KeyError, IndexError):
            raise ArtifactNotFound(artifact_id) from None
        record, config = self._store.trial(name, number), self._store.study_config(name)
        if record is None or config is None:
            raise ArtifactNotFound(artifact_id)
        text = self._made(file, parse_study(config, f"study {name!r}"), record)
        return io.BytesIO(text.encode())

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        raise NotImplementedError("nothing is uploaded: the server refuses it")

    def remove(self, artifact_id: str) -> None:
        raise NotImplementedError("nothing is removed: the server refuses it")

    def _made(self, file: str, study: Study, record: TrialRecord) -> str:
        if file == "training.svg":
            return self._training(study, record)
        text = self._store.architecture_json(record.architecture_digest)
        own = next(run for run in record.runs if not run.task)
        assert text is not None, "a trial's architecture is put before the trial"
        architecture = Architecture.from_json(text)
        num_classes = len(self._protocol(own).class_names)
        if file == "stages.csv":
            return stages_csv(study, architecture, num_classes)
        known = counted_cost(study, architecture, num_classes)
        return draw(architecture, known, f"{study.name}:{record.number}")

    def _training(self, study: Study, record: TrialRecord) -> str:
        curves = [_curve(study, run, self._protocol(run).fidelity) for run in record.runs]
        failed = (run.evaluation.message for run in record.runs if run.evaluation)
        words = next((message for message in failed if message), "")
        return draw_curves(f"Trainings of {study.name}:{record.number}", curves, words)

    def _protocol(self, run: RunRecord) -> Protocol:
        return protocol_of(self._store, run.protocol_digest)


def _curve(study: Study, run: RunRecord, fidelity: Fidelity) -> Curve:
    name = run_words(run, fidelity)
    epochs: list[Any] = [] if run.evaluation is None else [*run.evaluation.curve]
    total = max((int(epoch.get("num_epochs") or 1) for epoch in epochs), default=fidelity.epochs)
    return Curve(name, _outcome(study, run), [epoch.get("loss") for epoch in epochs], total)


def _outcome(study: Study, run: RunRecord) -> str:
    """`top1 0.7134, reused`; which soft constraints it breaks; or why it failed."""
    ended = run.evaluation
    if ended is None:
        return "has not ended"
    if ended.status == "failed":
        return f"failed ({ended.reason})"
    soft = {n: bound for n, bound in study.soft().items() if parted(n)[0] == run.task}
    measured = (name for name in study.objectives if not is_cost(name))
    names = [name for name in dict.fromkeys((*measured, *soft)) if parted(name)[0] == run.task]
    found = {name: figure_of({run.task: ended}, name) for name in names}
    words = [f"{n} {objective_text(n, v)}" for n, v in found.items() if v is not None]
    at_top = run.rung == len(study.fidelities) - 1
    broken = {
        name: bound
        for name, bound in soft.items()
        if at_top and (value := found[name]) is not None and max(bound.excess(value), default=0) > 0
    }
    if broken:
        words.append(f"breaks {bound_words(broken)}")
    return ", ".join(words) + (", reused" if run.reused else "")
