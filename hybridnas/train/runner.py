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
from .stepper import Stepper

_log = logging.getLogger(__name__)

CAPTURED = "captured"


class Runner:
    """Takes a stepper through epochs of batches.

    captured: False: eagerly, for comparisons.
    stepping: `captured`, or `eager: ` and why; settled by the first step. capture_s: seconds that
    capturing took, rehearsals among them. busy_s: seconds in which captured steps ran on the GPU
    (with what other processes ran there meanwhile), of the epochs that are over.
    """

    def __init__(
        self, stepper: Stepper, batches: TrainingBatches, *, captured: bool = True
    ) -> None:
        self.stepping = CAPTURED
        self.capture_s = 0.0
        self.busy_s = 0.0
        self._stepper = stepper
        self._batches = batches
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, Tensor] | None = None  # what the graph reads
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
            steps = self._made(batches, number, first)
        else:
            steps = self._given(number, first)
        yield from steps
        self._sum_replays()

    def _given(self, number: int, first: int) -> Iterator[int]:
        """Each batch comes from elsewhere, and is copied to where the graph reads."""
        for images, targets in self._batches.epoch(number, first):
            self._step(images, targets)
            yield len(images)

    def _step(self, images: Any, targets: Any) -> None:
        if self.stepping == CAPTURED and self._inputs is None:
            if isinstance(images, Tensor) and isinstance(targets, Tensor):
                self._inputs = images.clone(), targets.clone()
                self._capture(self._work)
            else:
                self._stay_eager("the images of a batch differ in size")
        if self._graph is None or not self._fits(images, targets):
            self._stepper.step(images, targets)
        else:
            self._put(images, targets)
            self._replay(self._graph)

    def _made(self, batches: DeviceBatches, number: int, first: int) -> Iterator[int]:
        """The graph makes each batch while it steps on the one before: many small kernels that
        fill what the step's leave of the GPU."""
        if self._graph is None:
            batches.begin(number, first)
            batches.fetch()
            self._inputs = batches.make()
            self._capture(lambda: self._work_ahead(batches), batches.generator)
        if self._graph is None:
            yield from self._given(number, first)
            return
        batches.begin(number, first)
        batches.fetch()
        self._put(*batches.make())
        for step in range(first, len(batches)):
            if step + 1 < len(batches):
                batches.fetch()
            self._replay(self._graph)
            yield batches.batch_size
        batches.look_ahead(number + 1)

    def _work(self) -> None:
        assert self._inputs is not None
        self._stepper.work(*self._inputs)

    def _work_ahead(self, batches: DeviceBatches) -> None:
        stream, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        beside.wait_stream(stream)
        with torch.cuda.stream(beside):
            following = batches.make()
        self._work()
        stream.wait_stream(beside)
        self._put(*following)

    def _put(self, images: Tensor, targets: Tensor) -> None:
        assert self._inputs is not None
        self._inputs[0].copy_(images)
        self._inputs[1].copy_(targets)

    def _fits(self, images: Tensor, targets: Tensor) -> bool:
        assert self._inputs is not None
        return all(
            mine.shape == new.shape and mine.dtype == new.dtype
            for mine, new in zip(self._inputs, (images, targets), strict=True)
        )

    def _capture(self, work: Callable[[], None], *generators: torch.Generator) -> None:
        started = time.perf_counter()
        try:
            self._graph = capture(work, self._stepper.device, self._stepper.changing, generators)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._stay_eager(str(error).partition("\n")[0])
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
            self.busy_s += sum(begun.elapsed_time(ended) for begun, ended in self._replays) / 1000
            self._replays.clear()
