"""Models of dense tasks as folders: the backbone for timm, the task's head beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from ..architecture import Architecture
from ..cost import cost, input_size
from ..errors import ExportError
from ..exported import CONFIG, HEAD, WEIGHTS, check_new
from ..loading import head_weights, load_weights
from ..pictures import draw
from ..tasks import TASKS
from ..timm_entry import build
from ..train import network_of
from .card import DRAWING, Origin, model_card
from .files import (
    CARD,
    Extras,
    new_folder,
    timm_config,
)
from .programs import check_onnx, write_programs


def export_dense(
    architecture: Architecture,
    out: Path,
    state_dict: Mapping[str, Tensor] | None,
    origin: Origin,
    extras: Extras,
) -> None:
    """Writes a model of segmentation or detection to a new folder `out`.

    model.safetensors and config.json are the backbone as timm loads it, with no classes (what its
    unused head has is fresh); head.safetensors is the rest of the task's model, by its names.
    Raises ExportError as `export_model` does, and for extras that such a model cannot have.
    """
    protocol = origin.protocol
    name, resolution = protocol.task.name, protocol.fidelity.resolution
    check_new(out)
    _check(name, extras)
    with new_folder(out) as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TASKS[name].network(architecture, len(origin.class_names), protocol).eval()
        if state_dict is not None:
            load_weights(model, state_dict)
        network = network_of(model)
        backbone = build(architecture, num_classes=0)
        whole = {**backbone.state_dict(), **network.state_dict()}
        for file, weights in ((WEIGHTS, whole), (HEAD, head_weights(model))):
            (folder / file).write_bytes(save(weights, metadata={"format": "pt"}))
        config = timm_config(architecture, origin, 0, resolution, protocol.recipe.crop_pct)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        known = cost(
            architecture,
            input_size(name, resolution),
            name,
            len(origin.class_names),
            head_width=protocol.task.head_width,
        )
        picture = draw(architecture, known, architecture.short)
        (folder / DRAWING).write_text(picture, encoding="utf-8")
        made = write_programs(model, resolution, folder, extras)
        card = model_card(architecture, known, origin, package=None, extras=made)
        (folder / CARD).write_text(card, encoding="utf-8")


def _check(task: str, extras: Extras) -> None:
    if extras.standalone:
        raise ExportError(
            f"a stand-alone export holds a classifier; a model for {task} needs hybridnas for its "
            "head: leave --standalone out"
        )
    if task == "detection" and (extras.onnx or extras.program):
        raise ExportError(
            "Mask R-CNN takes lists of images and finds different numbers of objects in each, "
            "which is no program of fixed shapes: leave --onnx and --torch-export out"
        )
    if extras.onnx:
        check_onnx()
