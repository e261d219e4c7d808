"""Scores an exported model just as the search scored it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch

from ..config import Protocol, Task
from ..data import class_names
from ..errors import ConfigError, ExportError
from ..evaluate import pick_device
from ..tasks import TASKS
from ..tasks.classification import validation_loader
from .folder import CONFIG, WEIGHTS


def score_export(
    folder: Path,
    *,
    data: str | None = None,
    split: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """top1, top5 and what they were counted on, in fp32.

    data, split, batch_size: by default those of the evaluation in the database, so that on the
    same kind of device the score is the same to the last image. Raises ExportError for a folder
    that is no export, DataError for data of other classes.
    """
    config = _read_config(folder)
    origin = config.get("hybridnas")
    protocol = Protocol.model_validate(origin["protocol"]) if origin else None
    if data is None and protocol is None:
        raise ConfigError(f"{folder} does not say what it was trained on: give --data DIR")
    known = protocol.task if protocol else Task()
    task = known.model_copy(update={"data": data} if data is not None else {})
    labels = config["pretrained_cfg"].get("label_names")
    names = class_names(task.model_copy(update={"train": split or task.val}))
    if labels is not None and tuple(labels) != names:
        raise ConfigError(
            f"{folder} knows the classes {', '.join(labels[:5])}, ... ({len(labels)}), "
            f"but {task.data} has {', '.join(names[:5])}, ... ({len(names)})"
        )
    where = pick_device(device)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).to(where)
    pretrained = config["pretrained_cfg"]
    loader = validation_loader(
        task,
        resolution=pretrained["input_size"][-1],
        crop_pct=pretrained["crop_pct"],
        batch_size=batch_size or (protocol.recipe.batch_size if protocol else 128),
        device=where,
        split=split,
    )
    score = TASKS[task.name].score(model, loader, torch.device(where))
    return {
        "top1": score.top1,
        "top1_se": score.top1_se,
        "top5": score.top5,
        "num_images": score.num_images,
        "num_corrupt": score.num_corrupt,
        "split": split or task.val,
        "data": task.data,
        "batch_size": score.batch_size,
        "device": score.device_type,
    }


def _read_config(folder: Path) -> dict[str, Any]:
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ExportError(f"{folder} is no exported model: {' and '.join(missing)} not found")
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ExportError(f"{folder / CONFIG} is not valid JSON: {error}") from None
    if config.get("architecture") != "hybridnas" or "pretrained_cfg" not in config:
        raise ExportError(f"{folder / CONFIG} is not of a model that hybridnas exported")
    return config
