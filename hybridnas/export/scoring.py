"""Scores an exported model just as the search scored it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..config import Fidelity, Protocol, Recipe, Task
from ..environment import pick_device
from ..errors import ConfigError, DataError, listed
from ..exported import read_config
from ..loading import load_model, protocol_of
from ..tasks import TASKS, Score
from ..tasks.inference import WHOLE, Inference
from ..tasks.segmentation import score as score_segmentation


def score_export(
    folder: Path,
    *,
    task: str | None = None,
    data: str | None = None,
    split: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    inference: Inference | None = None,
) -> dict[str, Any]:
    """The figures of the task's score and what they were counted on, in fp32; of segmentation and
    detection, whose images keep their shape, how one was seen, too (`inference`).

    task: None: what the model is for. data, split, batch_size: by default those of the evaluation
    in the database, so that on the same kind of device the score is the same to the last image.
    inference: how a segmenting model sees an image; None: whole, once, as in the search.
    Raises ExportError for a folder that is no export, ConfigError for another task than the
    model's, DataError for data of other classes.
    """
    config = read_config(folder)
    known = protocol_of(folder, config)
    if data is None and known is None:
        raise ConfigError(f"{folder} does not say what it was trained on: give --data DIR")
    protocol = _changed(known or _of_timm(config), data, split, batch_size)
    own = protocol.task.name
    if task not in (None, own):
        raise ConfigError(f"{folder} is a model for {own}, got --task {task}")
    if inference is not None and own != "segmentation":
        raise ConfigError(
            f"windows, scales and flips are how segmentation sees an image, not {own}"
        )
    _check_classes(folder, config, protocol.task)
    where = pick_device(device)
    model = load_model(folder).to(where)
    score: Callable[..., Score] = TASKS[own].score
    if inference is not None:
        score = partial(score_segmentation, inference=inference)
    found = score(model, TASKS[own].scoring_loader(protocol, where), torch.device(where))
    return {
        **found.metrics,
        "num_images": found.num_images,
        "num_corrupt": found.num_corrupt,
        "task": own,
        "split": protocol.task.val,
        "data": protocol.task.data,
        "resolution": protocol.fidelity.resolution,
        **({} if own == "classification" else {"inference": asdict(inference or WHOLE)}),
        "batch_size": found.batch_size,
        "device": found.device_type,
    }


def _of_timm(config: Mapping[str, Any]) -> Protocol:
    """What timm's config says of how a classifier from elsewhere sees images."""
    pretrained = config["pretrained_cfg"]
    return Protocol(
        task=Task(),
        recipe=Recipe(crop_pct=pretrained["crop_pct"]),
        fidelity=Fidelity(epochs=1, resolution=pretrained["input_size"][-1]),
    )


def _changed(
    protocol: Protocol, data: str | None, split: str | None, batch_size: int | None
) -> Protocol:
    task = protocol.task
    if data is not None:
        task = task.model_copy(update={"data": data})
    if split is not None:
        task = task.model_copy(update={"val": split})
    recipe = protocol.recipe
    if batch_size is not None:
        recipe = recipe.model_copy(update={"batch_size": batch_size})
    # Nothing is trained on, so the split to train on need not be there, and is not cut down.
    task = task.model_copy(update={"train": task.val, "per_class": None})
    return protocol.model_copy(update={"task": task, "recipe": recipe})


def _check_classes(folder: Path, config: Mapping[str, Any], task: Task) -> None:
    names = TASKS[task.name].class_names(task)
    labels = config["pretrained_cfg"].get("label_names")
    if labels is not None and not _fit(tuple(labels), names, task.name):
        raise DataError(
            f"{folder} knows the classes {listed(labels)}, but {task.data} has {listed(names)}"
        )
    if labels is None and config["num_classes"] != len(names):
        raise DataError(
            f"{folder} knows {config['num_classes']} classes, but {task.data} has {len(names)}"
        )


def _fit(labels: tuple[str, ...], names: tuple[str, ...], task: str) -> bool:
    """Of a set of masks without names, the labels of another split may end before."""
    numbered = names == tuple(str(number + 1) for number in range(len(names)))
    return labels == names or (
        task == "segmentation" and numbered and labels[: len(names)] == names
    )
