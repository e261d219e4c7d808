"""Writes a model as a folder that `timm.create_model("local-dir:DIR")` loads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..architecture import Architecture
from ..cost import Cost, cost
from ..drawing import draw
from ..errors import ExportError
from ..network import HybridNet
from ..timm_entry import build, pretrained_cfg
from ..train import read_weights as weights_of_file
from .card import DRAWING, Origin, Source, model_card
from .programs import ONNX, PROGRAM, check_onnx, write_onnx, write_program
from .standalone import check_standalone, write_package

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


@dataclass(frozen=True)
class Extras:
    """What an export holds besides: standalone: the source of its network, so that it needs
    torch and timm alone. onnx, program: the model as ONNX, as torch.export's program."""

    standalone: bool = False
    onnx: bool = False
    program: bool = False


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
    if out.exists():
        raise ExportError(f"{out} is there already: name a new folder, or remove it first")
    if extras.standalone:
        check_standalone(architecture, out.name)
    if extras.onnx:
        check_onnx()
    if isinstance(origin, Origin):
        num_classes, input_size = len(origin.class_names), origin.protocol.fidelity.resolution
        crop_pct = origin.protocol.recipe.crop_pct
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(architecture, num_classes=num_classes).eval()
    if state_dict is not None:
        _load(model, state_dict)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        unfinished.mkdir(parents=True)
        weights = save(model.state_dict(), metadata={"format": "pt"})
        (unfinished / WEIGHTS).write_bytes(weights)  # save_file's are for their owner's eyes only
        config = _config(architecture, origin, num_classes, input_size, crop_pct)
        (unfinished / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        known = cost(architecture, input_size, num_classes=num_classes)
        (unfinished / DRAWING).write_text(_picture(architecture, known), encoding="utf-8")
        made = _programs(model, input_size, unfinished, extras)
        if extras.standalone:
            write_package(unfinished)
        card = model_card(
            architecture,
            known,
            origin,
            package=out.name if extras.standalone else None,
            extras=made,
        )
        (unfinished / CARD).write_text(card, encoding="utf-8")
        unfinished.rename(out)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _picture(architecture: Architecture, known: Cost) -> str:
    title = (
        f"{architecture.short}: {known.params / 1e6:.2f} M parameters, "
        f"{known.macs / 1e6:,.1f} M MACs at {known.input_size[0]} px"
    )
    return draw(architecture, known.stages, title)


def _programs(model: nn.Module, input_size: int, folder: Path, extras: Extras) -> dict[str, str]:
    """Writes what is wanted of them; what each is, by the name of its file."""
    images = torch.randn(2, 3, input_size, input_size, generator=torch.Generator().manual_seed(0))
    what = f"for any batch of {input_size} x {input_size} px images, normalised as above"
    made: dict[str, str] = {}
    if extras.onnx:
        write_onnx(model, images, folder / ONNX)
        made[ONNX] = f"ONNX {what} (input `images`, output `logits`)"
    if extras.program:
        write_program(model, images, folder / PROGRAM)
        made[PROGRAM] = f"`torch.export.load` gives it, {what}"
    return made


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
            f"the weights are another network's, or of other classes: {name} must be {needed}, "
            f"got {came} ({len(wrong)} of {len(own.keys() | state_dict.keys())} do not fit)"
        )
    model.load_state_dict(dict(state_dict))


def _config(
    architecture: Architecture,
    origin: Origin | Source,
    num_classes: int,
    input_size: int,
    crop_pct: float,
) -> dict[str, Any]:
    """timm's config: which entry point, with what arguments, for which images."""
    # As JSON gives it back, and without what timm's config says elsewhere or does not say.
    pretrained: dict[str, Any] = json.loads(json.dumps(pretrained_cfg(architecture, input_size)))
    del pretrained["url"], pretrained["num_classes"]
    pretrained |= {"license": "other", "crop_pct": crop_pct}
    config: dict[str, Any] = {
        "architecture": "hybridnas",
        "num_classes": num_classes,
        "num_features": architecture.stages[-1].width,
        "model_args": {"architecture": architecture.to_dict()},
        "pretrained_cfg": pretrained,
    }
    if isinstance(origin, Origin):
        pretrained["label_names"] = list(origin.class_names)
        config["hybridnas"] = {
            "study": origin.study,
            "trial": origin.trial,
            "recipe": origin.recipe,
            "metrics": dict(origin.metrics),
            "protocol": json.loads(origin.protocol.to_json()),
            "protocol_digest": origin.protocol.digest,
            "machine": dict(origin.machine),
            "versions": dict(origin.versions),
            "git_commit": origin.git_commit,
        }
    return config


def read_weights(path: Path, architecture: Architecture, num_classes: int) -> dict[str, Tensor]:
    """The weights in a .pth or .safetensors file under our names, whoever named them.

    Raises DataError for a file that holds none, or those of no known network.
    """
    return weights_of_file(path, HybridNet(architecture, num_classes, device="meta"))
