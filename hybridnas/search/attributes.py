"""What a trial carries in Optuna's tables besides its values, for the dashboard's readers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from ..architecture import Architecture
from ..config import CLOSED_FORM, Study
from ..store import Evaluation


def open_optuna_study(storage: optuna.storages.BaseStorage, study: Study) -> optuna.Study:
    """The study in Optuna's tables, made where there is none; objectives go by their names."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # who searches has a view of his own
    opened = optuna.create_study(
        study_name=study.name,
        storage=storage,
        directions=list(study.objectives.values()),
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        opened.set_metric_names(list(study.objectives))
    return opened


def architecture_attributes(
    architecture: Architecture, costs: Mapping[str, float]
) -> dict[str, Any]:
    """What the dashboard shows of a trial: its architecture in readable form, and its costs."""
    # The dashboard sorts by name and shows the first six lines: these are to be among them.
    stages = {f"arch stage {i}": line for i, line in enumerate(architecture.describe(), 1)}
    return {
        "arch": architecture.short,
        "arch digest": architecture.digest,
        **stages,
        **costs,
        "json": architecture.to_json(),
    }


def result_attributes(evaluation: Evaluation, reused: bool) -> dict[str, Any]:
    """What the dashboard shows of how an evaluation ended."""
    found: dict[str, Any] = {
        name: value for name, value in evaluation.metrics.items() if name not in CLOSED_FORM
    }
    found |= {n: round(v, 3) for n, v in evaluation.timing.items() if v is not None}
    found["device"] = evaluation.machine.get("device")
    found["evaluation"] = evaluation.id
    if reused:
        found["reused"] = True
    if evaluation.reason:
        found |= {"reason": evaluation.reason, "message": evaluation.message}
    return found


def gpu_seconds(evaluation: Evaluation | None) -> float:
    """GPU-seconds of an evaluation, by its share of the GPU."""
    return (evaluation.timing.get("gpu_s") or 0.0) if evaluation else 0.0
