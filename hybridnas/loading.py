"""Exported models read back: what `hybridnas export` wrote, as a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .config import Protocol
from .environment import first_line
from .errors import ExportError, HybridnasError
from .exported import CONFIG, HEAD, WEIGHTS, read_config
from .tasks import TASKS
from .timm_entry import as_architecture
from .train import network_of


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


def protocol_of(folder: Path, config: Mapping[str, Any]) -> Protocol | None:
    """What the model was evaluated under, if a study found it or a recipe trained it."""
    origin = config.get("hybridnas")
    if origin is None:
        return None
    try:
        return Protocol.model_validate(origin["protocol"])
    except (ValidationError, KeyError, TypeError) as error:
        why = first_line(error)
        raise ExportError(f"{folder / CONFIG}: its protocol cannot be read ({why})") from None


def load_weights(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Every weight, each of its shape; ExportError names the first that does not fit."""
    own = model.state_dict()
    wrong = sorted(
        name
        for name in own.keys() | state_dict.keys()
        if name not in own or name not in state_dict or own[name].shape != state_dict[name].shape
    )
    if wrong:
        name = wrong[0]
        needed, came = (
            "none" if name not in of else "x".join(map(str, of[name].shape)) or "one number"
            for of in (own, state_dict)
        )
        raise ExportError(
            f"the weights are another network's, or of other classes: {name} must be {needed}, "
            f"got {came} ({len(wrong)} of {len(own.keys() | state_dict.keys())} do not fit)"
        )
    model.load_state_dict(dict(state_dict))


def head_weights(model: nn.Module) -> dict[str, Tensor]:
    """What a task's model has besides its network."""
    inside = f"{_place(model)}."
    return {n: value for n, value in model.state_dict().items() if not n.startswith(inside)}


def joined(
    model: nn.Module, backbone: Mapping[str, Tensor], head: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights of a task's model out of the two files of an export."""
    place, used = _place(model), network_of(model).state_dict()
    return {**{f"{place}.{n}": value for n, value in backbone.items() if n in used}, **head}


def _place(model: nn.Module) -> str:
    """The name of the network in a task's model."""
    inside = network_of(model)
    return next(name for name, module in model.named_modules() if module is inside)


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
