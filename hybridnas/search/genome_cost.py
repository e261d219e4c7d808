"""Costs of genomes, summed over pieces that are counted once: a search asks thousands of times."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ..cost import head_count
from ..counting import Count, Size, windows_of
from ..parts import Option
from ..profiling import LatencyTable
from ..profiling.pieces import Piece
from ..profiling.table import sum_of
from ..space import SearchSpace
from ..space_layout import Values

Spent = tuple[int, int, float]  # params, macs, and ms by the table, before it is scaled
Maps = tuple[tuple[int, Size], ...]


class GenomeCost:
    """`params`, `macs` and, with a table, `latency_ms` of what genomes mean: what `hybridnas.cost`
    and `LatencyTable.latency_ms` say of their architectures, without building those.

    A space has few different blocks (a kind, its options, a width, a size of map), so nearly all
    that a genome costs was counted before, for another one.
    """

    def __init__(
        self,
        space: SearchSpace,
        size: Size,
        task: str,
        num_classes: int,
        head_width: int | None = None,
        latency: LatencyTable | None = None,
    ) -> None:
        self._space, self._size, self._task = space, size, task
        self._num_classes, self._head_width, self._latency = num_classes, head_width, latency
        # Bound to the instance: caches on the class would keep every space alive.
        self._stem = functools.cache(self._count_stem)
        self._downsample = functools.cache(self._count_downsample)
        self._block = functools.cache(self._count_block)
        self._windows = functools.cache(self._count_windows)
        self._head = functools.cache(self._count_head)

    def __call__(self, genome: Mapping[str, Option]) -> dict[str, float]:
        layout = self._space.layout(genome)
        width = layout.stages[0].width
        (params, macs, ms), at = self._stem(layout.stem, width)
        maps: Maps = ()
        for index, stage in enumerate(layout.stages):
            parts: list[tuple[Spent, int]] = []
            if index:
                down, at = self._downsample(layout.downsample, width, stage.width, at)
                parts.append((down, 1))
            width, window = stage.width, stage.window
            if window:
                parts.append((self._windows(width, at, window), 1))
            for run in stage.runs:
                parts.append((self._block(run.kind, run.values, width, at, window), run.number))
            for (more_params, more_macs, more_ms), number in parts:
                params += number * more_params
                macs += number * more_macs
                ms += number * more_ms
            maps += ((width, at),)
        head = self._head(layout.head, layout.stem, maps)
        found: dict[str, float] = {"macs": macs + head[1], "params": params + head[0]}
        if self._latency is not None:
            found["latency_ms"] = self._latency.scale * (ms + head[2]) + self._latency.offset_ms
        return found

    def _count_stem(self, words: str, width: int) -> tuple[Spent, Size]:
        stem = self._space.spec.stems[words]
        count, after = stem.count(3, width, self._size)
        return self._spent(count, Piece("stem", stem, width, self._size)), after

    def _count_downsample(
        self, words: str, width_in: int, width: int, at: Size
    ) -> tuple[Spent, Size]:
        down = self._space.spec.downsamples[words]
        count, after = down.count(width_in, width, at)
        return self._spent(count, Piece("downsample", down, width, at, width_in)), after

    def _count_windows(self, width: int, at: Size, window: int) -> Spent:
        return self._spent(Count(), Piece("windows", None, width, at, width, window))

    def _count_block(
        self, kind: str, values: Values, width: int, at: Size, window: int | None
    ) -> Spent:
        block = self._space.block(kind, values)
        windows, inside = windows_of(at, window)
        piece = Piece("block", block, width, inside, width, windows)
        return self._spent(piece.count(), piece)

    def _count_head(self, words: str, stem_words: str, maps: Maps) -> Spent:
        head, token = self._space.spec.heads[words], self._space.spec.stems[stem_words].token_place
        count = head_count(head, self._task, maps, self._num_classes, self._head_width)
        width, at = maps[-1]
        return self._spent(count, Piece("head", head, width, at, width, token=token))

    def _spent(self, count: Count, piece: Piece) -> Spent:
        table, ms = self._latency, 0.0
        if table is not None:
            ms = sum_of([(piece, 1)], table.pieces, table.space)
        return count.params, count.macs, ms
