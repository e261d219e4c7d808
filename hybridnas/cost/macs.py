"""Parameters and MACs in closed form: no module is built (convention: hybridnas.counting)."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ..architecture import Architecture, Block
from ..counting import Count, Size
from ..errors import ConfigError

TASKS = ("classification",)


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage with the downsampler before it, for one image.

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
    """Parameters and MACs of a network with its classification head, for one image."""

    params: int
    macs: int
    stem: Count
    stages: tuple[StageCost, ...]
    head: Count
    input_size: tuple[int, int]
    num_classes: int


def cost(
    architecture: Architecture,
    input_size: int | tuple[int, int] = 224,
    task: str | None = None,
    num_classes: int = 1000,
    in_chans: int = 3,
) -> Cost:
    """The cost of an architecture on an image of that size.

    input_size: side of a square image or (height, width), in pixels. task: 'classification' or
    None for the same; the heads of other tasks are not counted yet.
    Raises ConfigError for a task that is not known or an image smaller than a pixel.
    """
    size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    if task not in (None, *TASKS):
        raise ConfigError(f"unknown task {task!r}; allowed: {', '.join(TASKS)}")
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ConfigError(f"input size must be positive pixels (H, W), got {input_size!r}")
    width = architecture.stages[0].width
    stem, at = architecture.stem.count(in_chans, width, size)
    stages: list[StageCost] = []
    total = stem
    for index, stage in enumerate(architecture.stages):
        spent = Count()
        if index:
            spent, at = architecture.downsample.count(width, stage.width, at)
        width, tokens = stage.width, at[0] * at[1]
        for block, repeat in stage.runs():
            spent += _block(block, width, at) * repeat
        names = tuple(block.mixer_name for block, _ in stage.runs())
        ratio = tokens / (6 * width)
        stages.append(
            StageCost(index + 1, stage.depth, width, names, spent.params, spent.macs, tokens, ratio)
        )
        total += spent
    head = architecture.head.count(width, num_classes)
    total += head
    return Cost(total.params, total.macs, stem, tuple(stages), head, size, num_classes)


@functools.lru_cache(maxsize=65536)
def _block(block: Block, width: int, size: Size) -> Count:
    """A search asks for the same few blocks again and again."""
    return block.form.count(block.mixer, width, size)
