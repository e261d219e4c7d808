"""The folder of an exported model: what is in it, as far as that needs no torch to be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import ExportError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
HEAD = "head.safetensors"  # of a model for a dense task


def check_new(out: Path) -> None:
    """Raises ExportError where something is in the way of a new folder."""
    if out.exists():
        raise ExportError(f"{out} is there already: name a new folder, or remove it first")


def read_config(folder: Path) -> dict[str, Any]:
    """timm's config of an export; ExportError for a folder that is none."""
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ExportError(
            f"{folder} is no exported model: {' and '.join(missing)} not found "
            f"(`hybridnas export STUDY:TRIAL --out DIR` writes one)"
        )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:  # of the encoding, or of JSON
        raise ExportError(f"{folder / CONFIG} is not valid JSON: {error}") from None
    ours = isinstance(config, dict) and config.get("architecture") == "hybridnas"
    if not ours or not {"num_classes", "model_args", "pretrained_cfg"} <= config.keys():
        raise ExportError(f"{folder / CONFIG} is not of a model that hybridnas exported")
    return dict(config)
