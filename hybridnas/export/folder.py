"""Writes a model as a folder that `timm.create_model("local-dir:DIR")` loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from ..architecture import Architecture
from ..cost import cost
from ..exported import CONFIG, WEIGHTS, check_new
from ..loading import load_weights
from ..network import HybridNet
from ..pictures import draw
from ..timm_entry import build
from ..train import read_weights as weights_of_file
from .card import DRAWING, Origin, Source, model_card
from .dense import export_dense
from .files import (
    CARD,
    Extras,
    new_folder,
    timm_config,
)
from .programs import check_onnx, write_programs
from .standalone import check_standalone, write_package


def export_model(
    architecture: Architecture,
    out: Path,
    state_dict: Mapping[str, Tensor] | None,
    origin: Origin | Source | None = None,
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    crop_pct: float = 1.0,
    extras: Extras | None = None,
) -> None:
    """Writes config.json, model.safetensors, the card and its picture to a new folder `out`.

    state_dict: the trained weights; None: fresh ones, from seed 0. origin: of a model that a
    study found, whose protocol then gives image size, classes and crop_pct (timm's: how much of
    its shorter side a validation image keeps); or what else is known of it.
    Raises ExportError if the folder is there already, if the weights are another network's, or
    if it cannot be written; nothing is left half.
    """
    extras, origin = extras or Extras(), origin or Source()
    if isinstance(origin, Origin):
        if origin.protocol.task.name != "classification":
            export_dense(architecture, out, state_dict, origin, extras)
            return
        num_classes, input_size = len(origin.class_names), origin.protocol.fidelity.resolution
        crop_pct = origin.protocol.recipe.crop_pct
    check_new(out)
    if extras.standalone:
        check_standalone(architecture, out.name)
    if extras.onnx:
        check_onnx()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(architecture, num_classes=num_classes).eval()
    if state_dict is not None:
        load_weights(model, state_dict)
    with new_folder(out) as folder:
        weights = save(model.state_dict(), metadata={"format": "pt"})
        (folder / WEIGHTS).write_bytes(weights)  # save_file's are for their owner's eyes only
        config = timm_config(architecture, origin, num_classes, input_size, crop_pct)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        known = cost(architecture, input_size, num_classes=num_classes)
        picture = draw(architecture, known, architecture.short)
        (folder / DRAWING).write_text(picture, encoding="utf-8")
        made = write_programs(model, input_size, folder, extras)
        if extras.standalone:
            write_package(folder)
        package = out.name if extras.standalone else None
        card = model_card(architecture, known, origin, package=package, extras=made)
        (folder / CARD).write_text(card, encoding="utf-8")


def read_weights(path: Path, architecture: Architecture, num_classes: int) -> dict[str, Tensor]:
    """The weights in a .pth or .safetensors file under our names, whoever named them.

    Raises DataError for a file that holds none, or those of no known network.
    """
    return weights_of_file(path, HybridNet(architecture, num_classes, device="meta"))
