"""Which class was taken for which, counted over the pixels of a whole set, and what follows."""

from __future__ import annotations

import torch
from torch import Tensor


class Confusion:
    """Counts pixels on a device, without ever waiting for it."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self._num_classes = num_classes
        # One more row takes the pixels that are ignored: leaving them out would need to know how
        # many they are.
        self._counts = torch.zeros(
            (num_classes + 1) * num_classes, dtype=torch.int64, device=device
        )

    def add(self, truth: Tensor, predicted: Tensor) -> None:
        """Two maps of the same shape: of classes, in `truth` larger ones are ignored, and of
        classes (both whole numbers)."""
        rows = truth.long().clamp(max=self._num_classes)
        cells = (rows * self._num_classes + predicted).flatten()
        self._counts.scatter_add_(0, cells, torch.ones_like(cells))

    def matrix(self) -> Tensor:
        """(K, K) int64 on the CPU: row: the class that it is, column: that it was taken for."""
        return self._counts.cpu().view(-1, self._num_classes)[:-1]


def segmentation_metrics(matrix: Tensor) -> dict[str, float]:
    """miou, aacc and macc of a confusion matrix (K, K), as mmsegmentation counts them.

    miou: mean over classes of intersection over union, without classes that are neither there nor
    predicted. aacc: share of pixels that are right. macc: mean over the classes that are there of
    the share of their pixels that are right. All NaN when no pixel has a class.
    """
    counts = matrix.double()
    right, there, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    # 0 / 0 is NaN, which marks a class that is left out.
    iou = right / (there + predicted - right)
    accuracy = right / there
    return {
        "miou": iou.nanmean().item(),
        "aacc": (right.sum() / there.sum()).item(),
        "macc": accuracy.nanmean().item(),
    }
