"""What a trial carries in Optuna's tables besides its values, for the dashboard's readers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from ..errors import ConfigError
from ..objectives import STANDARD_ERRORS, Direction, named
from .feasibility import Subject
from .problem import Evaluations, figure_of


def open_optuna_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    objectives: Mapping[str, Direction],
    anew: bool,
) -> optuna.Study:
    """The study in Optuna's tables, made where there is none; objectives go by their names.

    anew: what is there of ours is left of a start that failed, perhaps with other objectives.
    Raises ConfigError where that name is a study of somebody else's.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # who searches has a view of his own
    if name in optuna.get_all_study_names(storage):
        known = optuna.load_study(study_name=name, storage=storage)
        if not all("arch digest" in t.user_attrs for t in known.get_trials(deepcopy=False)):
            raise ConfigError(
                f"the database has an Optuna study {name!r} that hybridnas did not make: "
                f"give this one another name (--set name=...)"
            )
        if anew:
            optuna.delete_study(study_name=name, storage=storage)
    opened = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=list(objectives.values()),
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        opened.set_metric_names(list(objectives))
    return opened


def architecture_attributes(architecture: Subject, costs: Mapping[str, float]) -> dict[str, Any]:
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


def result_attributes(
    evaluations: Evaluations, figures: Sequence[str], reused: bool
) -> dict[str, Any]:
    """What the dashboard shows of how a trial's last evaluations, by task, ended.

    figures: that the study asks for. reused: the last of them was known before.
    """
    # Only what people sort and filter by.
    scored = [*figures, *(STANDARD_ERRORS[name] for name in figures if name in STANDARD_ERRORS)]
    found: dict[str, Any] = {name: figure_of(evaluations, name) for name in scored}
    for task, evaluation in evaluations.items():
        own: dict[str, Any] = {"reason": evaluation.reason, "message": evaluation.message}
        own |= {n: evaluation.timing.get(n) for n in ("total_s", "train_images_per_second")}
        own |= {"evaluation": evaluation.id}
        found |= {named(task, name): value for name, value in own.items()}
    kept = {name: value for name, value in found.items() if value is not None}
    return kept | ({"reused": True} if reused else {})
