"""A model that answers many batches of one shape."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from ..capture import capture

_log = logging.getLogger(__name__)

# Capturing costs the host what two batches do.
_WORTH_IT = 4


class Forward:
    """Runs a model in eval mode; on CUDA batches of the first one's shape as a CUDA graph.

    num_batches: that will come. What a call gives is valid until the next one.
    """

    def __init__(self, model: nn.Module, device: torch.device, num_batches: int) -> None:
        self._model = model
        self._device = device
        self._captures = device.type == "cuda" and num_batches >= _WORTH_IT
        self._graph: torch.cuda.CUDAGraph | None = None
        self._images = self._output = torch.empty(0)  # the graph's

    def __call__(self, images: Tensor) -> Tensor:
        if self._captures and self._graph is None:
            self._capture(images)
        if self._graph is None or images.shape != self._images.shape:
            output: Tensor = self._model(images)
            return output
        self._images.copy_(images)
        self._graph.replay()
        return self._output

    def _capture(self, images: Tensor) -> None:
        self._images = images.clone()

        def work() -> None:
            self._output = self._model(self._images)

        try:
            self._graph = capture(work, self._device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._captures = False
            _log.info("scoring is not captured as a CUDA graph: %s", error)
