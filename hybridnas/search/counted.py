"""What a study's architectures cost, at the size and with the head that the study counts."""

from __future__ import annotations

from ..architecture import Architecture
from ..config import Study
from ..cost import Cost, cost, input_size
from ..counting import Size


def counted_size(study: Study) -> Size:
    """(height, width) of the image that a study's MACs are counted for."""
    return input_size(study.task.name, study.fidelity.resolution)


def counted_cost(study: Study, architecture: Architecture, num_classes: int) -> Cost:
    """An architecture's cost at the top of the ladder, with the head of the study's task."""
    task = study.task
    size = counted_size(study)
    return cost(architecture, size, task.name, num_classes, head_width=task.head_width)
