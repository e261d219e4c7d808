"""What a network's time is the sum of: its stem, downsamplers, blocks, windows and head."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from torch import Tensor, nn

from ..architecture import Architecture, Block
from ..counting import Count, Size, windows_of
from ..errors import SpaceError
from ..layers import DOWNSAMPLES, FORMS, HEADS, STEMS, Downsample, Head, Stem
from ..layers.modules.heads import ClassifierHead
from ..mixers import MIXERS
from ..parts import dump
from ..space import SearchSpace
from ..windows import partition, unpartition

Kind: TypeAlias = Literal["stem", "downsample", "block", "windows", "head"]


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """A part at a width on a map; equal pieces take equally long.

    width: of its output (windows: of the map); width_in: of its input. size: of its input; a
    block's is that of a window, and `windows` says how many of those an image has, as a piece of
    kind `windows` (the cut and its inverse) has their side in `windows`. token: for a head.
    """

    kind: Kind
    part: Stem | Downsample | Block | Head | None
    width: int
    size: Size
    width_in: int = 3
    windows: int = 1
    token: Literal["none", "first", "middle"] = "none"

    @property
    def key(self) -> str:
        """Readable, and the same for equal pieces in every version."""
        return _key(self)

    def input_shape(self, batch: int) -> tuple[int, ...]:
        """(B, 3, H, W) for a stem, (B, H, W, C) for others; a head with a token: (B, L, C)."""
        if self.kind == "stem":
            return (batch, self.width_in, *self.size)
        if self.kind == "head" and self.token != "none":
            return (batch, self.size[1], self.width)
        if self.kind == "block":
            batch *= self.windows
        return (batch, *self.size, self.width_in if self.kind == "downsample" else self.width)

    def build(self, num_classes: int) -> nn.Module:
        """Its module, with fresh weights."""
        part = self.part
        if isinstance(part, Stem | Downsample):
            return part.build(self.width_in, self.width)
        if isinstance(part, Block):
            return part.form.build(part.mixer, self.width, 0.0)
        if isinstance(part, Head):
            return ClassifierHead(part, self.width, num_classes, None, 0.0, self.token)
        return _Windows(self.windows)

    def count(self) -> Count:
        """Its parameters and MACs, for a block."""
        assert isinstance(self.part, Block), "only blocks are compared by their costs"
        once = self.part.form.count(self.part.mixer, self.width, self.size)
        return Count(once.params, once.macs * self.windows)


class _Windows(nn.Module):
    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        return unpartition(partition(x, self.window), self.window, x.shape[1], x.shape[2])


def pieces_of(architecture: Architecture, input_size: Size) -> Iterator[tuple[Piece, int]]:
    """A network's pieces, each with how often it runs; as `cost` walks through it."""
    width = architecture.stages[0].width
    yield Piece("stem", architecture.stem, width, input_size), 1
    at = _after_stem(architecture.stem, width, input_size)
    for index, stage in enumerate(architecture.stages):
        if index:
            yield Piece("downsample", architecture.downsample, stage.width, at, width), 1
            at = _after_downsample(architecture.downsample, width, stage.width, at)
        width = stage.width
        if stage.window:
            yield Piece("windows", None, width, at, width, stage.window), 1
        for block, repeat in stage.runs():
            yield _block_piece(block, width, at, stage.window), repeat
    token = architecture.stem.token_place
    yield Piece("head", architecture.head, width, at, width, token=token), 1


def pieces_in(space: SearchSpace, input_size: Size) -> list[Piece]:
    """Every piece of every network of a space, once, in the order of the network.

    Raises SpaceError for a space with `equal_macs`: nobody knows its widths before all of its
    networks are scaled.
    """
    if space.spec.equal_macs:
        raise SpaceError(f"space {space.name!r} scales widths (equal_macs): it can have no table")
    spec, found = space.spec, dict[Piece, None]()
    sizes: dict[tuple[Size, str], None] = {}
    for stem, width in itertools.product(spec.stems.values(), spec.stages[0].width):
        found[Piece("stem", stem, width, input_size)] = None
        sizes[_after_stem(stem, width, input_size), stem.token_place] = None
    for i, stage in enumerate(spec.stages, 1):
        if i > 1:
            before, sizes = sizes, {}
            widths = itertools.product(spec.stages[i - 2].width, stage.width)
            for (at, token), (narrow, wide), down in itertools.product(
                before, widths, spec.downsamples.values()
            ):
                found[Piece("downsample", down, wide, at, narrow)] = None
                sizes[_after_downsample(down, narrow, wide, at), token] = None
        for (at, _), width, window in itertools.product(sizes, stage.width, stage.window):
            if window:
                found[Piece("windows", None, width, at, width, window)] = None
            for block in space.blocks_in(i):
                found[_block_piece(block, width, at, window)] = None
    for (at, token), width, head in itertools.product(
        sizes, spec.stages[-1].width, spec.heads.values()
    ):
        found[Piece("head", head, width, at, width, token=token)] = None  # type: ignore[arg-type]
    return list(found)


def features(piece: Piece) -> dict[str, str | float]:
    """What tells blocks of a kind apart: their options in words, for an estimate of their time."""
    assert isinstance(piece.part, Block)
    options = {
        **dataclasses.asdict(piece.part.mixer),
        **dataclasses.asdict(piece.part.form),
        "width": piece.width,
        "windows": piece.windows,
    }
    return {name: str(value) for name, value in options.items()}


def group(piece: Piece) -> tuple[str, str, Size]:
    """Blocks of one group differ in options and widths only: form, mixer, size of the map."""
    assert isinstance(piece.part, Block)
    return type(piece.part.form).__name__, piece.part.mixer_name, piece.size


def blocks(pieces: Iterable[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece.kind == "block"]


def _block_piece(block: Block, width: int, at: Size, window: int | None) -> Piece:
    windows, inside = windows_of(at, window)
    return Piece("block", block, width, inside, width, windows)


def _after_stem(stem: Stem, width: int, size: Size) -> Size:
    return stem.count(3, width, size)[1]


@functools.lru_cache(maxsize=4096)
def _after_downsample(down: Downsample, width_in: int, width: int, size: Size) -> Size:
    return down.count(width_in, width, size)[1]


@functools.lru_cache(maxsize=1 << 18)
def _key(piece: Piece) -> str:
    part: object = None
    if isinstance(piece.part, Block):
        form, mixer = dump(piece.part.form, FORMS), dump(piece.part.mixer, MIXERS)
        part = {"form": form, "mixer": mixer}
    elif isinstance(piece.part, Stem):
        part = dump(piece.part, STEMS)
    elif isinstance(piece.part, Downsample):
        part = dump(piece.part, DOWNSAMPLES)
    elif isinstance(piece.part, Head):
        part = dump(piece.part, HEADS)
    words = {piece.kind: part, "width": piece.width, "size": list(piece.size)}
    if piece.kind == "downsample":
        words["width_in"] = piece.width_in
    if piece.windows > 1:
        words["windows"] = piece.windows
    if piece.token != "none":
        words["token"] = piece.token
    return json.dumps(words, sort_keys=True, separators=(",", ":"))
