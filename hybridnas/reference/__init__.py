"""Published backbones by name: seeds of a search, baselines of a report, and tests."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..architecture import Architecture
from ..errors import ArchitectureError, meant
from ..layers.blocks import Gated
from . import local_directions
from .families import convformer, convnext, deit, mambaout, mambaout_rw
from .ssm_families import localvmamba, mambavision, vim, vmamba_v0, vmamba_v2


@dataclass(frozen=True, slots=True)
class Published:
    """What was printed, None where nothing was; `source` says where, and what to know of it.

    params in millions; macs in G at 224 px; top1 in percent on ImageNet-1K. Mask R-CNN with the
    1x schedule on COCO: AP of boxes and masks, MACs in G at 800 x 1280. UperNet on ADE20K: mIoU
    at one scale and at several, MACs in G at 512 x 2048.
    """

    params_m: float
    macs_g: float
    top1: float
    box_ap: float | None
    mask_ap: float | None
    det_macs_g: float | None
    miou_ss: float | None
    miou_ms: float | None
    seg_macs_g: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A published architecture with its published figures."""

    family: str
    architecture: Architecture
    published: Published


_SMALL, _LARGE, _BASE = (48, 96, 192, 288), (96, 192, 384, 576), (128, 256, 512, 768)
_S18, _S36 = (3, 3, 9, 3), (3, 12, 18, 3)
_FORMER = (64, 128, 320, 512)

_ARCHITECTURES: dict[str, Architecture] = {
    "mambaout_femto": mambaout((3, 3, 9, 3), _SMALL),
    "mambaout_kobe": mambaout((3, 3, 15, 3), _SMALL),
    "mambaout_tiny": mambaout((3, 3, 9, 3), _LARGE),
    "mambaout_small": mambaout((3, 4, 27, 3), _LARGE),
    "mambaout_base": mambaout((3, 4, 27, 3), _BASE),
    "mambaout_small_rw": mambaout_rw((3, 4, 27, 3), _LARGE, Gated(layer_scale=1e-6)),
    "mambaout_base_short_rw": mambaout_rw(
        (3, 3, 25, 3), _BASE, Gated(expansion=3, conv_ratio=1.25, layer_scale=1e-6)
    ),
    "mambaout_base_tall_rw": mambaout_rw(
        (3, 4, 30, 3), _BASE, Gated(expansion=2.5, conv_ratio=1.25, layer_scale=1e-6)
    ),
    "mambaout_base_wide_rw": mambaout_rw(
        (3, 4, 27, 3), _BASE, Gated(expansion=3, conv_ratio=1.5, act="silu", layer_scale=1e-6)
    ),
    "mambaout_base_plus_rw": mambaout_rw(
        (3, 4, 30, 3), _BASE, Gated(expansion=3, conv_ratio=1.5, act="silu", layer_scale=1e-6)
    ),
    "convformer_s18": convformer(_S18, _FORMER),
    "convformer_s36": convformer(_S36, _FORMER),
    "convformer_m36": convformer(_S36, _LARGE),
    "convformer_b36": convformer(_S36, _BASE),
    "caformer_s18": convformer(_S18, _FORMER, attention_from=3),
    "caformer_s36": convformer(_S36, _FORMER, attention_from=3),
    "caformer_m36": convformer(_S36, _LARGE, attention_from=3),
    "caformer_b36": convformer(_S36, _BASE, attention_from=3),
    "convnext_tiny": convnext((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": convnext((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": convnext((3, 3, 27, 3), (128, 256, 512, 1024)),
    "vmamba_v0_tiny": vmamba_v0((2, 2, 9, 2), 96),
    "vmamba_v0_small": vmamba_v0((2, 2, 27, 2), 96),
    "vmamba_v0_base": vmamba_v0((2, 2, 27, 2), 128),
    "vmamba_tiny_s2l5": vmamba_v2((2, 2, 5, 2), 96, ratio=2),
    "vmamba_tiny_s1l8": vmamba_v2((2, 2, 8, 2), 96, ratio=1),
    "vmamba_small_s2l15": vmamba_v2((2, 2, 15, 2), 96, ratio=2),
    "vmamba_base_s2l15": vmamba_v2((2, 2, 15, 2), 128, ratio=2),
    "localvmamba_tiny": localvmamba((2, 2, 9, 2), 96, local_directions.TINY),
    "localvmamba_small": localvmamba((2, 2, 27, 2), 96, local_directions.SMALL),
    "vim_tiny": vim(192),
    "vim_small": vim(384),
    "mambavision_tiny": mambavision((1, 3, 8, 4), 80, hidden=32),
    "mambavision_tiny2": mambavision((1, 3, 11, 4), 80, hidden=32),
    "mambavision_small": mambavision((3, 3, 7, 5), 96, hidden=64),
    "mambavision_base": mambavision((3, 3, 10, 5), 128, hidden=64, layer_scale=1e-5),
    "deit_tiny": deit(192),
    "deit_small": deit(384),
    "deit_base": deit(768),
}


def _read(row: Mapping[str, str]) -> Reference:
    name, family, source = row["name"], row["family"], row["source"]
    figures = {
        key: float(text) if text else None
        for key, text in row.items()
        if key not in ("name", "family", "source")
    }
    return Reference(
        family,
        _ARCHITECTURES[name],
        Published(**figures, source=source),  # type: ignore[arg-type]
    )


with (Path(__file__).parent / "published.csv").open(encoding="utf-8", newline="") as _file:
    REFERENCES: dict[str, Reference] = {row["name"]: _read(row) for row in csv.DictReader(_file)}

PUBLISHED: dict[str, str] = {known.architecture.digest: n for n, known in REFERENCES.items()}
"""The names of reference architectures by their digests."""


def reference(name: str) -> Architecture:
    """The architecture of a published backbone; ArchitectureError lists the known names."""
    if name not in REFERENCES:
        known = ", ".join(REFERENCES)
        near = meant(name, REFERENCES)
        raise ArchitectureError(f"unknown reference architecture {name!r}{near}; known: {known}")
    return REFERENCES[name].architecture
