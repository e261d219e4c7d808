"""Parameters and MACs in closed form: no module is built (convention: hybridnas.counting)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ..architecture import Architecture, Block
from ..counting import Count, Size, windows_of
from ..errors import ConfigError
from ..layers import Head
from .dense import DENSE_HEADS, Map

TASKS: dict[str, tuple[Size, int]] = {
    "classification": ((224, 224), 1000),
    "segmentation": ((512, 2048), 150),
    "detection": ((800, 1280), 80),
}
"""Image size and number of classes that published figures of a task are for."""


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage with the downsampler before it, for one image.

    mixers: in the order of the blocks, each once for as long as it stays.
    tokens: L, length of the sequence that a mixer sees. long_sequence_ratio: L / 6D; above 1 the
    stage works on long sequences by MambaOut's criterion (Yu & Wang, CVPR 2025, section 3).
    """

    stage: int
    depth: int
    width: int
    mixers: tuple[str, ...]
    params: int
    macs: int
    tokens: int
    long_sequence_ratio: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters and MACs of a network with the head of its task, for one image."""

    params: int
    macs: int
    stem: Count
    stages: tuple[StageCost, ...]
    head: Count
    input_size: tuple[int, int]
    num_classes: int


def cost(
    architecture: Architecture,
    input_size: int | tuple[int, int] | None = None,
    task: str | None = None,
    num_classes: int | None = None,
    in_chans: int = 3,
    head_width: int | None = None,
) -> Cost:
    """The cost of an architecture on an image of that size, with the head of a task.

    task: 'classification' (the default: the architecture's own head), 'segmentation' (UperNet)
    or 'detection' (Mask R-CNN with FPN). input_size: side of a square image or (height, width),
    in pixels; None: 224, 512 x 2048 and 800 x 1280, as published. num_classes: None: 1000, 150
    and 80. head_width: channels of a dense task's head; None: 512 and 256, as published.

    Raises ConfigError for a task that is not known, for a dense one on a network without a pyramid
    of maps, and for an image too small.
    """
    if task not in (None, *TASKS):
        raise ConfigError(f"unknown task {task!r}; allowed: {', '.join(TASKS)}")
    if task in DENSE_HEADS and len(architecture.stages) < 2:
        raise ConfigError(f"{task} needs a pyramid of maps: an architecture of two or more stages")
    usual_size, usual_classes = TASKS[task or "classification"]
    size = _checked_size(usual_size if input_size is None else input_size)
    classes = usual_classes if num_classes is None else num_classes
    width = architecture.stages[0].width
    stem, at = architecture.stem.count(in_chans, width, size)
    stages: list[StageCost] = []
    maps: list[Map] = []
    total = stem
    for index, stage in enumerate(architecture.stages):
        spent = Count()
        if index:
            spent, at = architecture.downsample.count(width, stage.width, at)
        width = stage.width
        windows, inside = windows_of(at, stage.window)
        for block, repeat in stage.runs():
            once = _block(block, width, inside)
            spent += Count(once.params, once.macs * windows) * repeat
        names = tuple(name for name, _ in itertools.groupby(b.mixer_name for b in stage.blocks))
        tokens = inside[0] * inside[1]
        ratio = tokens / (6 * width)
        stages.append(
            StageCost(index + 1, stage.depth, width, names, spent.params, spent.macs, tokens, ratio)
        )
        maps.append((width, at))
        total += spent
    head = head_count(architecture.head, task, maps, classes, head_width)
    total += head
    return Cost(total.params, total.macs, stem, tuple(stages), head, size, classes)


def head_count(
    own: Head, task: str | None, maps: Sequence[Map], num_classes: int, width: int | None = None
) -> Count:
    """The cost of a task's head on the stages' maps, finest first; own: the architecture's, for
    classification. width: as `head_width` of `cost`."""
    if task not in DENSE_HEADS:
        return own.count(maps[-1][0], num_classes, maps[-1][1])
    return DENSE_HEADS[task](maps, num_classes, **({} if width is None else {"width": width}))


def input_size(task: str, resolution: int) -> Size:
    """(height, width) of the image that costs of a task at a resolution are counted for: square
    for classification, else of the proportions of published figures (TASKS), whose shorter side
    is the resolution."""
    height, width = TASKS[task][0]
    return resolution, round(resolution * width / height)


def _checked_size(given: int | tuple[int, int]) -> Size:
    size = (given, given) if isinstance(given, int) else tuple(given)
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ConfigError(f"input size must be positive pixels (H, W), got {given!r}")
    return size


@functools.lru_cache(maxsize=65536)
def _block(block: Block, width: int, size: Size) -> Count:
    """A search asks for the same few blocks again and again."""
    return block.form.count(block.mixer, width, size)
