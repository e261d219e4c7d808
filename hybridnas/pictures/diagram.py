"""A picture of an architecture, as SVG.

From left to right stem, stages and head along one line. A stage is a row of blocks: a block's
colour is its mixer, its height the stage's width D, to scale. Grey is what mixes no tokens: stem,
head, and the downsamplers that widen between two stages. Below stand, column by column, the
tokens L that a mixer sees, L / 6D (marked where the sequence is long: Yu & Wang, CVPR 2025,
section 3), and the share of the network's MACs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..architecture import Architecture, Stage
from ..cost import Cost
from ..counting import in_units, pixels
from .palette import mixer_colours
from .svg import Drawing, text_width

_BLOCK, _PITCH, _TALL = 11, 14, 120  # a block's breadth, from one to the next, and the tallest
_MARGIN, _GAP, _TOP = 16, 20, 62  # around all, between columns, and above the blocks
_LINE, _BAR = 17, 60  # from one line of words to the next; a bar of all MACs
_RATIO, _MACS = "L / 6D", "MACs"
_LINES = ("", "blocks", "width D", "windows", "tokens L", _RATIO, _MACS)
_MARK = 14  # breadth of the mark of a long sequence, and the space before it
_SMALL, _LEAST = 11, 520  # size of words in the legend; the least breadth


@dataclass(frozen=True)
class _Column:
    """Stem, stage or head: tall in pixels, with its words by the line they stand in."""

    words: dict[str, str]
    tall: float
    macs: int
    stage: Stage | None = None
    is_long: bool = False

    @property
    def shape_width(self) -> float:
        return _PITCH * self.stage.depth - (_PITCH - _BLOCK) if self.stage else _BLOCK

    @property
    def breadth(self) -> float:
        widths = [text_width(text, bold=not line) for line, text in self.words.items()]
        marked = text_width(self.words.get(_RATIO, "")) + _MARK
        return max(self.shape_width, *widths, marked, _BAR)


def draw(architecture: Architecture, known: Cost, title: str) -> str:
    """The picture as an SVG document, with title, and totals and resolution below it.

    known: the architecture's cost, of the task and the resolution that it is shown for.
    """
    columns = _columns(architecture, known)
    caption = (
        f"{in_units(known.params)} parameters, {in_units(known.macs)} MACs at "
        f"{pixels(known.input_size)}"
    )
    described = "; ".join(_sentences(architecture, known))
    drawing = Drawing(f"{title}: {architecture.short}, {caption}", f"{described}.")
    headings = [name for name in _LINES if any(name in column.words for column in columns)]
    left = _MARGIN + max(text_width(name) for name in headings) + 12
    places, x = [], left
    for column in columns:
        places.append(x)
        x += column.breadth + _GAP
    width = max(
        x - _GAP + _MARGIN,
        _LEAST,
        2 * _MARGIN + text_width(title, 15, bold=True),
        2 * _MARGIN + text_width(caption),
    )
    drawing.text(_MARGIN, 26, title, size=15, bold=True)
    drawing.text(_MARGIN, 45, caption, look="soft")
    _network(drawing, columns, places, _colours_of(architecture))
    y = _table(drawing, columns, places, headings, known.macs)
    y = _legend(drawing, architecture, columns, width, y)
    return drawing.finish(width, y + 12)


def _colours_of(architecture: Architecture) -> dict[str, str]:
    blocks = (block for stage in architecture.stages for block, _ in stage.runs())
    return mixer_colours(block.mixer_name for block in blocks)


def _columns(architecture: Architecture, known: Cost) -> list[_Column]:
    stages, total = architecture.stages, max(known.macs, 1)
    scale = _TALL / max(stage.width for stage in stages)
    stem, head = (
        _Column({"": name, _MACS: _percent(part.macs / total)}, scale * stage.width, part.macs)
        for name, part, stage in (("stem", known.stem, stages[0]), ("head", known.head, stages[-1]))
    )
    between = []
    for i, (stage, figures) in enumerate(zip(stages, known.stages, strict=True), 1):
        words = {
            "": f"stage {i}",
            "blocks": stage.short,
            "width D": f"{stage.width:,}",
            **({"windows": f"{stage.window} x {stage.window}"} if stage.window else {}),
            "tokens L": f"{figures.tokens:,}",
            _RATIO: f"{figures.long_sequence_ratio:.2f}",
            _MACS: _percent(figures.macs / total),
        }
        is_long = figures.long_sequence_ratio > 1
        between.append(_Column(words, scale * stage.width, figures.macs, stage, is_long))
    return [stem, *between, head]


def _percent(share: float) -> str:
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def _network(
    drawing: Drawing, columns: list[_Column], places: list[float], colours: dict[str, str]
) -> None:
    axis = _TOP + _TALL / 2
    end = places[-1] + columns[-1].shape_width
    drawing.path([(places[0], axis), (end, axis)])
    before: _Column | None = None
    for column, x in zip(columns, places, strict=True):
        top = axis - column.tall / 2
        if column.stage is None:
            drawing.rect(
                x, top, column.shape_width, column.tall, look="part", words=column.words[""]
            )
        else:
            if before is not None and before.stage is not None:
                _downsampler(drawing, x, axis, before.tall, column.tall)
            for i in range(column.stage.depth):
                colour = colours[column.stage.blocks[i].mixer_name]
                drawing.rect(
                    x + i * _PITCH,
                    top,
                    _BLOCK,
                    column.tall,
                    colour=colour,
                    words=_block_words(column.stage, i),
                )
            if column.stage.window:
                drawing.frame(x - 3, top - 3, column.shape_width + 6, column.tall + 6)
        before = column


def _downsampler(drawing: Drawing, x: float, axis: float, before: float, after: float) -> None:
    """What leads from one width to the next, just before the blocks at x."""
    left, right = x - 11, x - 5
    corners = [
        (left, axis - before / 2),
        (right, axis - after / 2),
        (right, axis + after / 2),
        (left, axis + before / 2),
    ]
    drawing.polygon(corners, look="part")


def _block_words(stage: Stage, i: int) -> str:
    """What shows when the pointer rests on a block."""
    block = stage.blocks[i]
    options = {**block.mixer.options(), **block.form.options()}
    words = ", ".join(f"{name} {value}" for name, value in options.items())
    return f"block {i + 1} of {stage.depth}: {block.mixer_name}" + (f" ({words})" if words else "")


def _table(
    drawing: Drawing,
    columns: list[_Column],
    places: list[float],
    headings: list[str],
    total: int,
) -> float:
    """The lines under the network; the height at which they end."""
    y = float(_TOP + _TALL + 8)
    for name in headings:
        y += _LINE
        drawing.text(_MARGIN, y, name, look="soft")
        for column, x in zip(columns, places, strict=True):
            words = column.words.get(name, "")
            if not words:
                continue
            drawing.text(x, y, words, bold=not name)
            if name == _RATIO and column.is_long:
                _mark(drawing, x + text_width(words) + 4, y)
    y += 7
    for column, x in zip(columns, places, strict=True):
        drawing.rect(x, y, _BAR, 5, look="track")
        drawing.rect(x, y, _BAR * column.macs / max(total, 1), 5, look="soft")
    return y + 5


def _mark(drawing: Drawing, x: float, y: float) -> None:
    """A long sequence."""
    drawing.polygon([(x, y), (x + 4.5, y - 9), (x + 9, y)], look="ink")


def _legend(
    drawing: Drawing, architecture: Architecture, columns: list[_Column], width: float, y: float
) -> float:
    """What colours and marks mean, in as many lines as it takes; the height at which it ends."""
    letters = {
        block.mixer_name: block.mixer.letter
        for stage in architecture.stages
        for block, _ in stage.runs()
    }
    colours = _colours_of(architecture)
    entries = [(colours[name], f"{letter}: {name}") for name, letter in letters.items()]
    entries.append(("part", "stem, downsampling, head"))
    if any(stage.window for stage in architecture.stages):
        entries.append(("frame", "mixes inside of windows"))
    if any(column.is_long for column in columns):
        entries.append(("mark", "L > 6D: long sequence (MambaOut)"))
    x, y = float(_MARGIN), y + 26
    for kind, words in entries:
        breadth = 15 + text_width(words, _SMALL)
        if x > _MARGIN and x + breadth > width - _MARGIN:
            x, y = float(_MARGIN), y + _LINE
        _swatch(drawing, kind, x, y)
        drawing.text(x + 15, y, words, size=_SMALL, look="soft")
        x += breadth + 14
    return y


def _swatch(drawing: Drawing, kind: str, x: float, y: float) -> None:
    if kind == "mark":
        _mark(drawing, x, y)
    elif kind == "frame":
        drawing.frame(x, y - 9, 10, 10)
    elif kind == "part":
        drawing.rect(x, y - 9, 10, 10, look="part")
    else:
        drawing.rect(x, y - 9, 10, 10, colour=kind)


def _sentences(architecture: Architecture, known: Cost) -> Iterator[str]:
    """The picture in words."""
    total = max(known.macs, 1)
    yield f"stem: {_percent(known.stem.macs / total)} of the MACs"
    for i, (line, figures) in enumerate(zip(architecture.describe(), known.stages, strict=True), 1):
        is_long = ", a long sequence" if figures.long_sequence_ratio > 1 else ""
        yield (
            f"stage {i}: {line}; {figures.tokens:,} tokens, "
            f"L / 6D {figures.long_sequence_ratio:.2f}{is_long}, "
            f"{_percent(figures.macs / total)} of the MACs"
        )
    yield f"head: {_percent(known.head.macs / total)} of the MACs"
