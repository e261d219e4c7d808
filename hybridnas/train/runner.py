"""How the steps of a training are taken: captured as a CUDA graph where that can be, else eagerly.

Both take the same steps. Why a training is not captured is logged once, and kept for the record.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..capture import capture
from ..data.batches import DeviceBatches, TrainingBatches
from ..environment import first_line
from .stepper import Stepper

_log = logging.getLogger(__name__)

CAPTURED = "captured"


class Runner:
    """Takes a stepper through epochs of batches.

    captured: False: eagerly, for comparisons.
    stepping: `captured`, or `eager: ` and why; settled by the first step. capture_s: seconds that
    capturing took, rehearsals among them.
    """

    def __init__(
        self, stepper: Stepper, batches: TrainingBatches, *, captured: bool = True
    ) -> None:
        self.stepping = CAPTURED
        self.capture_s = 0.0
        self._busy_s = 0.0
        self._stepper = stepper
        self._batches = batches
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, Tensor] | None = None  # what the graph of a stream reads
        self._replays: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        if stepper.device.type != "cuda":
            self.stepping = "eager: captured steps need a CUDA device"
        elif not captured:
            self.stepping = "eager: as was asked for"

    def epoch(self, number: int, first: int = 0) -> Iterator[int]:
        """The steps of epoch `number`, counted from 1, from step `first` on, counted from 0: each
        is taken when the iterator is asked for the next item, the number of its images."""
        batches = self._batches
        if self.stepping == CAPTURED and isinstance(batches, DeviceBatches):
            yield from self._made(batches, number, first)
        else:
            for images, targets in batches.epoch(number, first):
                self._step(images, targets)
                yield len(images)
        self._sum_replays()

    @property
    def busy_s(self) -> float:
        """Seconds in which captured steps ran on the GPU, with what other processes ran there
        meanwhile; waits for the last one."""
        self._sum_replays()
        return self._busy_s

    def _made(self, batches: DeviceBatches, number: int, first: int) -> Iterator[int]:
        """Making a batch is part of the graph."""
        stepper = self._stepper
        batches.begin(number, first)
        if self._graph is None:
            batches.fetch()
            self._capture(lambda: stepper.work(*batches.make()))
            batches.begin(number, first)
        for _ in range(first, len(batches)):
            batches.fetch()
            if self._graph is None:
                stepper.step(*batches.make())
            else:
                self._replay(self._graph)
            yield batches.batch_size
        batches.look_ahead(number + 1)

    def _step(self, images: Any, targets: Any) -> None:
        """A batch that comes from elsewhere is copied to where the graph reads."""
        if self.stepping == CAPTURED and self._inputs is None:
            self._capture_inputs(images, targets)
        if self._graph is None or not self._fits(images, targets):
            self._stepper.step(images, targets)
            return
        assert self._inputs is not None  # there is a graph
        self._inputs[0].copy_(images)
        self._inputs[1].copy_(targets)
        self._replay(self._graph)

    def _capture_inputs(self, images: Any, targets: Any) -> None:
        if not isinstance(images, Tensor) or not isinstance(targets, Tensor):
            self._stay_eager("the images of a batch differ in size")
            return
        inputs = images.clone(), targets.clone()
        self._inputs = inputs
        self._capture(lambda: self._stepper.work(*inputs))

    def _fits(self, images: Tensor, targets: Tensor) -> bool:
        assert self._inputs is not None
        return all(
            mine.shape == new.shape and mine.dtype == new.dtype
            for mine, new in zip(self._inputs, (images, targets), strict=True)
        )

    def _capture(self, work: Callable[[], None]) -> None:
        started = time.perf_counter()
        try:
            self._graph = capture(work, self._stepper.device, self._stepper.changing)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._stay_eager(first_line(error))
        self.capture_s = time.perf_counter() - started

    def _stay_eager(self, why: str) -> None:
        self.stepping = f"eager: {why}"
        _log.warning("training steps are not captured as a CUDA graph: %s", why)

    def _replay(self, graph: torch.cuda.CUDAGraph) -> None:
        self._stepper.prepare()
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        graph.replay()
        ended.record()
        self._replays.append((begun, ended))

    def _sum_replays(self) -> None:
        if self._replays:
            self._replays[-1][1].synchronize()
            self._busy_s += sum(begun.elapsed_time(ended) for begun, ended in self._replays) / 1000
            self._replays.clear()
