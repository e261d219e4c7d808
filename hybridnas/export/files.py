"""The files that every export holds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..architecture import Architecture
from ..errors import ExportError
from ..exported import check_new
from ..timm_entry import pretrained_cfg
from .card import Origin, Source

CARD = "README.md"


@dataclass(frozen=True)
class Extras:
    """What an export holds besides: standalone: the source of its network, so that it needs
    torch and timm alone. onnx, program: the model as ONNX, as torch.export's program."""

    standalone: bool = False
    onnx: bool = False
    program: bool = False


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when all went well, and else vanishes.

    Raises ExportError where it is there already or cannot be written.
    """
    check_new(out)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        unfinished.rename(out)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def timm_config(
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
