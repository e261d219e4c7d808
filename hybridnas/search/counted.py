"""What an architecture costs as its study counts it."""

from __future__ import annotations

from ..architecture import Architecture
from ..config import Study
from ..cost import Cost, cost
from .plan import counted_size


def counted_cost(study: Study, architecture: Architecture, num_classes: int) -> Cost:
    """At the top of the ladder, with the head of the study's task for so many classes."""
    width = study.task.head_width
    return cost(architecture, counted_size(study), study.task.name, num_classes, head_width=width)
