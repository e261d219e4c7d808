"""The curves of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..data.plans import seeded


class Curves:
    """Writes scalars by step.

    done: steps taken before; what an earlier process wrote of later ones is not shown.
    """

    def __init__(self, folder: Path, done: int) -> None:
        with seeded(0):  # importing it draws numbers, which a training that goes on must not see
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=done + 1)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
