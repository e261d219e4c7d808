"""Writes a model as a folder that `timm.create_model("local-dir:DIR")` loads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..architecture import Architecture
from ..config import Protocol
from ..cost import cost
from ..counting import CONVENTION
from ..errors import ExportError
from ..timm_entry import build

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: what its card and its config say of it."""

    study: str
    trial: int
    metrics: Mapping[str, float | None]
    protocol: Protocol
    class_names: tuple[str, ...]
    machine: Mapping[str, object]
    versions: Mapping[str, str]
    git_commit: str | None


def export_model(
    architecture: Architecture,
    out: Path,
    state_dict: Mapping[str, Tensor] | None,
    origin: Origin | None,
    *,
    num_classes: int = 1000,
    input_size: int = 224,
) -> None:
    """Writes config.json, model.safetensors and README.md to a new folder `out`.

    state_dict: the trained weights; None: fresh ones, from seed 0. origin: of a model that a
    study found; its protocol then gives image size, classes and how images are prepared.
    Raises ExportError if the folder is there already, if the weights are another network's, or
    if it cannot be written; nothing is left half.
    """
    if out.exists():
        raise ExportError(f"{out} is there already: name a new folder, or remove it first")
    if origin is not None:
        num_classes, input_size = len(origin.class_names), origin.protocol.fidelity.resolution
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(architecture, num_classes=num_classes)
    if state_dict is not None:
        _load(model, state_dict)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        unfinished.mkdir(parents=True)
        save_file(model.state_dict(), unfinished / WEIGHTS, metadata={"format": "pt"})
        config = _config(architecture, origin, num_classes, input_size)
        (unfinished / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        card = _card(architecture, origin, num_classes, input_size, trained=state_dict is not None)
        (unfinished / CARD).write_text(card, encoding="utf-8")
        unfinished.rename(out)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _load(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
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
            f"the weights are another network's, or the data has other classes by now: {name} must "
            f"be {needed}, got {came} ({len(wrong)} of {len(own)} do not fit)"
        )
    model.load_state_dict(dict(state_dict))


def _config(
    architecture: Architecture, origin: Origin | None, num_classes: int, input_size: int
) -> dict[str, Any]:
    """timm's config: which entry point, with what arguments, for which images."""
    strides = architecture.stem.stride * 2 ** (len(architecture.stages) - 1)
    pretrained: dict[str, Any] = {
        "input_size": [3, input_size, input_size],
        "pool_size": [max(1, input_size // strides)] * 2,
        "crop_pct": origin.protocol.recipe.crop_pct if origin else 1.0,
        "interpolation": "bicubic",
        "mean": list(timm.data.IMAGENET_DEFAULT_MEAN),
        "std": list(timm.data.IMAGENET_DEFAULT_STD),
        "first_conv": "stem.conv1",
        "classifier": "head.fc",
        "license": "other",
    }
    config: dict[str, Any] = {
        "architecture": "hybridnas",
        "num_classes": num_classes,
        "num_features": architecture.stages[-1].width,
        "model_args": {"architecture": architecture.to_dict()},
        "pretrained_cfg": pretrained,
    }
    if origin is not None:
        pretrained["label_names"] = list(origin.class_names)
        config["hybridnas"] = {
            "study": origin.study,
            "trial": origin.trial,
            "metrics": dict(origin.metrics),
            "protocol": json.loads(origin.protocol.to_json()),
            "protocol_digest": origin.protocol.digest,
            "machine": dict(origin.machine),
            "versions": dict(origin.versions),
            "git_commit": origin.git_commit,
        }
    return config


def _card(
    architecture: Architecture,
    origin: Origin | None,
    num_classes: int,
    input_size: int,
    trained: bool,
) -> str:
    known = cost(architecture, input_size, num_classes=num_classes)
    stages = "\n".join(
        f"| {s.stage} | {line} | {s.tokens} | {s.long_sequence_ratio:.2f} "
        f"| {s.params:,} | {s.macs / 1e6:,.2f} |"
        for s, line in zip(known.stages, architecture.describe(), strict=True)
    )
    return f"""---
library_name: timm
tags: [image-classification, hybridnas]
---
# {architecture.short}

{_how_found(origin, trained)}

- architecture `{architecture.digest}`, {num_classes} classes
- {known.params:,} parameters, {known.macs / 1e6:,.2f} M MACs at {input_size} px ({CONVENTION})

| stage | blocks | tokens L | L / 6D | parameters | MACs (M) |
|---|---|---|---|---|---|
{stages}

## Use

{_own_mixers(architecture)}```python
import hybridnas  # registers the model with timm
import timm

model = timm.create_model("local-dir:PATH_OF_THIS_FOLDER", pretrained=True)
features = timm.create_model("local-dir:PATH_OF_THIS_FOLDER", pretrained=True, features_only=True)
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

{_rescore(origin)}"""


def _own_mixers(architecture: Architecture) -> str:
    """What must be importable besides hybridnas."""
    names = {block.mixer_name for stage in architecture.stages for block, _ in stage.runs()}
    modules = sorted({name.partition(":")[0] for name in names if ":" in name})
    return f"Needs on Python's path: {', '.join(f'`{m}`' for m in modules)}.\n\n" if modules else ""


def _rescore(origin: Origin | None) -> str:
    if origin is None:
        return ""
    return "`hybridnas evaluate PATH_OF_THIS_FOLDER` counts the score again, to the last image.\n"


def _how_found(origin: Origin | None, trained: bool) -> str:
    if origin is None:
        return "Trained weights from elsewhere." if trained else "**Untrained**: random weights."
    protocol, metrics = origin.protocol, origin.metrics
    scores = [
        f"{name} {value:.4f}"
        for name, value in metrics.items()
        if name in ("top1", "top5") and value is not None
    ]
    error, images = metrics.get("top1_se"), metrics.get("num_images")
    if error is not None:
        scores.append(f"standard error of top1 {error:.4f}")
    counted = "" if images is None else f" on {images:.0f} images"
    recipe = json.dumps(protocol.recipe.model_dump(mode="json"), sort_keys=True)
    return (
        f"Found by hybridnas: study `{origin.study}`, trial {origin.trial}. Scored "
        f"{', '.join(scores)}{counted} of the split `{protocol.task.val}` (data "
        f"`{protocol.data_digest}`), in fp32 on {origin.machine.get('device')} with batch size "
        f"{origin.machine.get('eval_batch_size')}, after {protocol.fidelity.epochs} epoch(s) at "
        f"{protocol.fidelity.resolution} px, seed {protocol.seed}.\n\n"
        f"Protocol `{protocol.digest}`, recipe `{recipe}`"
    )
