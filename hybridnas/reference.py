"""Published backbones by name: seeds of a search, baselines of a report, and tests.

Depths, widths and figures: MambaOut (Yu & Wang, CVPR 2025, arXiv 2405.07992), its table 1 and
the README of yuweihao/MambaOut.
"""

from __future__ import annotations

from dataclasses import dataclass

from .architecture import Architecture, Block, Stage
from .errors import ArchitectureError
from .layers.blocks import Gated
from .mixers.gated_conv import GatedConv


@dataclass(frozen=True, slots=True)
class Reference:
    """A published architecture with its published figures at 224 px on ImageNet-1K.

    params in millions and macs in G as printed; top1 in percent.
    """

    architecture: Architecture
    family: str
    params_m: float
    macs_g: float
    top1: float


def _mambaout(depths: tuple[int, ...], widths: tuple[int, ...]) -> Architecture:
    block = Block(Gated(), GatedConv())
    stages = (Stage(width, (block,) * depth) for depth, width in zip(depths, widths, strict=True))
    return Architecture(tuple(stages))


_SMALL, _LARGE = (48, 96, 192, 288), (96, 192, 384, 576)

REFERENCES: dict[str, Reference] = {
    "mambaout_femto": Reference(_mambaout((3, 3, 9, 3), _SMALL), "MambaOut", 7.3, 1.2, 78.9),
    "mambaout_kobe": Reference(_mambaout((3, 3, 15, 3), _SMALL), "MambaOut", 9.1, 1.5, 80.0),
    "mambaout_tiny": Reference(_mambaout((3, 3, 9, 3), _LARGE), "MambaOut", 26.5, 4.5, 82.7),
    "mambaout_small": Reference(_mambaout((3, 4, 27, 3), _LARGE), "MambaOut", 48.5, 9.0, 84.1),
    "mambaout_base": Reference(
        _mambaout((3, 4, 27, 3), (128, 256, 512, 768)), "MambaOut", 84.8, 15.8, 84.2
    ),
}


def reference(name: str) -> Architecture:
    """The architecture of a published backbone; ArchitectureError lists the known names."""
    if name not in REFERENCES:
        known = ", ".join(REFERENCES)
        raise ArchitectureError(f"unknown reference architecture {name!r}; known: {known}")
    return REFERENCES[name].architecture
