"""Scores an exported model just as the search scored it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import nn

from ..config import Protocol, Task
from ..data import class_names
from ..environment import pick_device
from ..errors import ConfigError, DataError, ExportError, HybridnasError
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
    pretrained = config["pretrained_cfg"]
    protocol = _protocol(folder, config)
    if data is None and protocol is None:
        raise ConfigError(f"{folder} does not say what it was trained on: give --data DIR")
    known = protocol.task if protocol else Task()
    task = known.model_copy(update={"data": data} if data is not None else {})
    _check_classes(folder, config, task, split or task.val)
    where = pick_device(device)
    model = _load(folder).to(where)
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
        **score.metrics,
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
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:  # of the encoding, or of JSON
        raise ExportError(f"{folder / CONFIG} is not valid JSON: {error}") from None
    ours = isinstance(config, dict) and config.get("architecture") == "hybridnas"
    if not ours or not {"num_classes", "model_args", "pretrained_cfg"} <= config.keys():
        raise ExportError(f"{folder / CONFIG} is not of a model that hybridnas exported")
    return dict(config)


def _protocol(folder: Path, config: Mapping[str, Any]) -> Protocol | None:
    """What the model was evaluated under, if a study found it."""
    origin = config.get("hybridnas")
    if origin is None:
        return None
    try:
        return Protocol.model_validate(origin["protocol"])
    except (ValidationError, KeyError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise ExportError(f"{folder / CONFIG}: its protocol cannot be read ({first})") from None


def _check_classes(folder: Path, config: Mapping[str, Any], task: Task, split: str) -> None:
    names = class_names(task.model_copy(update={"train": split}))
    labels = config["pretrained_cfg"].get("label_names")
    if labels is not None and tuple(labels) != names:
        raise DataError(
            f"{folder} knows the classes {', '.join(labels[:5])}, ... ({len(labels)}), "
            f"but {task.data} has {', '.join(names[:5])}, ... ({len(names)})"
        )
    if config["num_classes"] != len(names):
        raise DataError(
            f"{folder} knows {config['num_classes']} classes, but {task.data} has {len(names)}"
        )


def _load(folder: Path) -> nn.Module:
    try:
        return timm.create_model(f"local-dir:{folder}", pretrained=True)
    except SafetensorError as error:
        raise ExportError(f"{folder / WEIGHTS} is no safetensors file: {error}") from None
    except RuntimeError as error:  # of load_state_dict: a line for each weight
        cause = " ".join(str(error).split())
        raise ExportError(f"{folder / WEIGHTS} does not fit {CONFIG}: {cause:.300}") from None
    except HybridnasError as error:
        raise ExportError(f"{folder / CONFIG}: {error}") from None
