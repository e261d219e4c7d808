"""A timer that knows what everything costs, and tables made with it."""

from __future__ import annotations

import math
from typing import Any

import torch

from hybridnas.architecture import Architecture
from hybridnas.profiling import LatencyTable, Setting, make_table, setting_for
from hybridnas.profiling.pieces import Piece, pieces_of
from hybridnas.space import SearchSpace


def setting(size: int = 32) -> Setting:
    return setting_for(torch.device("cpu"), (size, size), 1)


def block_ms(piece: Piece) -> float:
    """A block's time: what its MACs take, and dearer where it scans."""
    mixer = getattr(piece.part, "mixer", None)
    return 1e-6 * piece.count().macs * (3 if hasattr(mixer, "d_state") else 1) + 0.01


class KnownTimer:
    """Blocks by `block_ms`, other pieces 0.05 ms each; networks `scale` times that and 0.3 ms."""

    def __init__(self, setting: Setting, scale: float = 1.5) -> None:
        self.setting, self.num_classes, self.reference_ms = setting, 10, 1.0
        self.scale = scale
        self.timed: list[Piece] = []

    def piece(self, piece: Piece) -> float:
        self.timed.append(piece)
        return block_ms(piece) if piece.kind == "block" else 0.05

    def network(self, architecture: Architecture) -> float:
        parts = pieces_of(architecture, self.setting.input_size)
        total = math.fsum(
            often * (block_ms(piece) if piece.kind == "block" else 0.05) for piece, often in parts
        )
        return self.scale * total + 0.3


def table_of(space: Any, **options: Any) -> LatencyTable:
    """A table of a space at 32 px, without any measuring."""
    options = {"networks": 6, **options}
    return make_table(SearchSpace.load(space), KnownTimer(setting()), **options)


def known_latency(architecture: Architecture) -> float:
    """What `table_of` must predict."""
    return KnownTimer(setting()).network(architecture)
