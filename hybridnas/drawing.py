"""A picture of an architecture, as SVG.

A stage is a row of blocks from left to right: a block's colour is its mixer, its height the
stage's width, to scale over the network. Under a stage stand its tokens and its share of the
MACs; red where its sequence is long by MambaOut's criterion, L > 6D.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol
from xml.sax.saxutils import escape

from .architecture import Architecture, Stage

# Okabe & Ito's palette, which people with colour blindness can tell apart.
COLOURS = {
    "gated_conv": "#0072B2",
    "ssm": "#D55E00",
    "attention": "#009E73",
    "conv": "#56B4E9",
}
OTHER_COLOURS = ("#CC79A7", "#E69F00", "#F0E442", "#999999")

_BLOCK, _GAP, _TALL = 11, 3, 120  # pixels: a block's breadth, between two, and the tallest
_LEAST, _MARGIN, _BETWEEN, _TOP = 146, 16, 30, 34
_TEXT, _LONG, _PALE = "#222222", "#B00020", "#DDDDDD"


class StageFigures(Protocol):
    """What is written under a stage (a hybridnas.cost.StageCost has it)."""

    @property
    def macs(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def long_sequence_ratio(self) -> float: ...


def draw(architecture: Architecture, figures: Sequence[StageFigures], title: str) -> str:
    """The picture as an SVG document, without scripts or fonts of its own.

    figures: of the stages, first one first.
    """
    colours = mixer_colours(architecture)
    base, x = _TOP + _TALL, float(_MARGIN)
    shapes = [_text(_MARGIN, 20, title, size=14, weight="bold")]
    total = sum(stage.macs for stage in figures) or 1
    widest = max(stage.width for stage in architecture.stages)
    for i, (stage, known) in enumerate(zip(architecture.stages, figures, strict=True), 1):
        if i > 1:
            shapes.append(_arrow(x - _BETWEEN + 6, x - 6, base - 6))
        tall = max(4.0, _TALL * stage.width / widest)
        shapes += _blocks(stage, x, base, tall, colours)
        breadth = max(_LEAST, stage.depth * (_BLOCK + _GAP))
        shapes += _labels(i, stage, known, x, base, breadth, known.macs / total)
        x += breadth + _BETWEEN
    x, height = x - _BETWEEN + _MARGIN, base + 108
    shapes += _legend(colours, height - 14)
    x = max(x, 2 * _MARGIN + 9.2 * len(title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{x:.0f}" height="{height}" '
        f'viewBox="0 0 {x:.0f} {height}" font-family="sans-serif" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def mixer_colours(architecture: Architecture) -> dict[str, str]:
    """The colour of every mixer that the architecture has, in their order in the network."""
    blocks = (block for stage in architecture.stages for block, _ in stage.runs())
    names = list(dict.fromkeys(block.mixer_name for block in blocks))
    spare = [name for name in names if name not in COLOURS]
    own = {name: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, name in enumerate(spare)}
    return {name: COLOURS.get(name) or own[name] for name in names}


def _blocks(
    stage: Stage, x: float, base: int, tall: float, colours: dict[str, str]
) -> Iterator[str]:
    for i, block in enumerate(stage.blocks):
        yield (
            f'<rect x="{x + i * (_BLOCK + _GAP):.1f}" y="{base - tall:.1f}" width="{_BLOCK}" '
            f'height="{tall:.1f}" rx="2" fill="{colours[block.mixer_name]}">'
            f"<title>{escape(_words(stage, i))}</title></rect>"
        )


def _words(stage: Stage, i: int) -> str:
    """What shows when the pointer rests on a block."""
    block = stage.blocks[i]
    options = {**block.mixer.options(), **block.form.options()}
    words = ", ".join(f"{name} {value}" for name, value in options.items())
    return f"block {i + 1} of {stage.depth}: {block.mixer_name}" + (f" ({words})" if words else "")


def _labels(
    i: int, stage: Stage, known: StageFigures, x: float, base: int, breadth: float, share: float
) -> Iterator[str]:
    is_long = known.long_sequence_ratio > 1
    ratio = f"L/6D {known.long_sequence_ratio:.2f}" + (" (long)" if is_long else "")
    window = f", {stage.window}x{stage.window} windows" if stage.window else ""
    yield _text(x, base + 16, f"stage {i}: {stage.short}", weight="bold")
    yield _text(x, base + 31, f"width {stage.width}{window}")
    yield _text(x, base + 46, f"L {known.tokens:,}, {ratio}", colour=_LONG if is_long else _TEXT)
    yield _bar(x, base + 53, breadth, _PALE)
    yield _bar(x, base + 53, breadth * share, "#555555")
    yield _text(x, base + 72, f"{100 * share:.1f} % of the stages' MACs", size=11)


def _legend(colours: dict[str, str], y: int) -> Iterator[str]:
    x = float(_MARGIN)
    for name, colour in colours.items():
        yield f'<rect x="{x:.1f}" y="{y - 9}" width="10" height="10" rx="2" fill="{colour}"/>'
        yield _text(x + 14, y, name)
        x += 30 + 7.0 * len(name)


def _text(
    x: float, y: float, words: str, size: int = 12, weight: str = "normal", colour: str = _TEXT
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(words)}</text>'
    )


def _bar(x: float, y: float, breadth: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{breadth:.1f}" height="6" fill="{colour}"/>'


def _arrow(start: float, end: float, y: float) -> str:
    """The downsampler between two stages."""
    return (
        f'<path d="M{start:.1f} {y:.1f} H{end:.1f} m-4 -4 l4 4 l-4 4" fill="none" '
        f'stroke="{_TEXT}" stroke-width="1.5"/>'
    )
