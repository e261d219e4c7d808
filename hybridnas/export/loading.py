"""Exported models read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..config import Protocol
from ..errors import ExportError, HybridnasError
from ..tasks import TASKS
from ..timm_entry import as_architecture
from .dense import joined
from .files import CONFIG, HEAD, WEIGHTS, load_weights


def load_model(folder: str | Path) -> nn.Module:
    """The model that `hybridnas export` wrote to a folder, with its weights, in eval mode, on the
    CPU: a classifier, a network for segmentation (images (B, 3, H, W) -> logits (B, K, H, W)), or
    torchvision's Mask R-CNN. The folder's card says how images are prepared.

    Raises ExportError for a folder that is no export.
    """
    folder = Path(folder)
    config = read_config(folder)
    protocol = protocol_of(folder, config)
    if protocol is None or protocol.task.name == "classification":
        return _timm_model(folder).eval()
    if not (folder / HEAD).is_file():
        raise ExportError(f"{folder} is no exported model for {protocol.task.name}: no {HEAD}")
    try:
        architecture = as_architecture(config["model_args"]["architecture"])
        num_classes = len(config["pretrained_cfg"]["label_names"])
        with torch.random.fork_rng(devices=[]):
            model = TASKS[protocol.task.name].network(architecture, num_classes, protocol)
        backbone, head = load_file(folder / WEIGHTS), load_file(folder / HEAD)
        load_weights(model, joined(model, backbone, head))
    except SafetensorError as error:
        raise ExportError(f"{folder}: its weights are no safetensors files: {error}") from None
    except ExportError as error:
        raise ExportError(f"{folder}: {error}") from None
    except (HybridnasError, KeyError) as error:
        raise ExportError(f"{folder / CONFIG} does not describe its model: {error}") from None
    return model.eval()


def read_config(folder: Path) -> dict[str, Any]:
    """timm's config of an export; ExportError for a folder that is none."""
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


def protocol_of(folder: Path, config: Mapping[str, Any]) -> Protocol | None:
    """What the model was evaluated under, if a study found it."""
    origin = config.get("hybridnas")
    if origin is None:
        return None
    try:
        return Protocol.model_validate(origin["protocol"])
    except (ValidationError, KeyError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise ExportError(f"{folder / CONFIG}: its protocol cannot be read ({first})") from None


def _timm_model(folder: Path) -> nn.Module:
    try:
        return timm.create_model(f"local-dir:{folder}", pretrained=True)
    except SafetensorError as error:
        raise ExportError(f"{folder / WEIGHTS} is no safetensors file: {error}") from None
    except RuntimeError as error:  # of load_state_dict: a line for each weight
        cause = " ".join(str(error).split())
        raise ExportError(f"{folder / WEIGHTS} does not fit {CONFIG}: {cause:.300}") from None
    except HybridnasError as error:
        raise ExportError(f"{folder / CONFIG}: {error}") from None
