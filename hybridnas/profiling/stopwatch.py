"""Times pieces and whole networks, corrected for a clock that drifts."""

from __future__ import annotations

import torch
from torch import nn

from ..architecture import Architecture
from .measure import inference_run, reference_run
from .pieces import Piece
from .setting import Setting
from .steps import inference
from .timing import Effort, Run, clock_of, time_in_turn

# So many copies of a piece run in a row, with weights of their own as in a network: starting a
# run then weighs little beside them.
_COPIES = 4
_PIECE = Effort(warmup=10, rounds=5, runs=10, seconds=0.3)
_NETWORK = Effort(warmup=10, rounds=5, runs=10, seconds=2.0)
_BETWEEN_REFERENCES = 40


class Stopwatch:
    """Times in one setting; every so often the reference network, by which times are divided."""

    def __init__(self, setting: Setting, num_classes: int) -> None:
        self.setting, self.num_classes = setting, num_classes
        self._device = torch.device(setting.device)
        self._clock = clock_of(self._device)
        self._reference = reference_run(setting)
        self._timed = 0
        self.reference_ms = self._time(self._reference, _NETWORK)
        self._drift = 1.0  # the reference's time now over that at first

    def piece(self, piece: Piece) -> float:
        """Milliseconds of a piece's inference of one batch."""
        dtype = getattr(torch, self.setting.dtype)
        shape = piece.input_shape(self.setting.batch)
        x = torch.randn(shape, device=self._device, dtype=dtype)
        with self._device:
            copies = [piece.build(self.num_classes).to(dtype).eval() for _ in range(_COPIES)]
        chained = nn.Sequential(*copies) if piece.kind in ("block", "windows") else _Beside(copies)
        return self._corrected(inference(chained, x, self.setting.mode), _PIECE) / _COPIES

    def network(self, architecture: Architecture) -> float:
        """Milliseconds of a whole network's inference of one batch."""
        run = inference_run(architecture, self.setting, self.num_classes)
        return self._corrected(run, _NETWORK)

    def _corrected(self, run: Run, effort: Effort) -> float:
        if self._timed % _BETWEEN_REFERENCES == 0:
            self._drift = self._time(self._reference, _NETWORK) / self.reference_ms
        self._timed += 1
        return self._time(run, effort) / self._drift

    def _time(self, run: Run, effort: Effort) -> float:
        return time_in_turn([run], self._clock, effort)[0].ms


class _Beside(nn.Module):
    """Copies one after the other, all on the same input."""

    def __init__(self, copies: list[nn.Module]) -> None:
        super().__init__()
        self.copies = nn.ModuleList(copies)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for copy in self.copies:
            y = copy(x)
        return y
