"""The picture of an architecture: what stands in it, to scale."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from contract_helpers import ARCHITECTURES

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.cost import cost
from hybridnas.drawing import COLOURS, draw, mixer_colours
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.reference import reference

SVG = "{http://www.w3.org/2000/svg}"


def drawn(architecture: Architecture, size: int = 224, title: str = "a < b & c") -> ET.Element:
    return ET.fromstring(draw(architecture, cost(architecture, size).stages, title))


def blocks_of(picture: ET.Element) -> list[ET.Element]:
    """The blocks: they alone say something under the pointer."""
    return [rect for rect in picture.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]


def words_of(picture: ET.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_block_is_there_in_its_colour(name: str) -> None:
    architecture = ARCHITECTURES[name]
    colours = mixer_colours(architecture)
    want = Counter(
        colours[block.mixer_name] for stage in architecture.stages for block in stage.blocks
    )
    picture = drawn(architecture)
    assert Counter(rect.attrib["fill"] for rect in blocks_of(picture)) == want
    words = words_of(picture)
    assert words[0] == "a < b & c"
    assert set(colours) <= set(words)  # the legend
    width = float(picture.attrib["width"])
    for rect in picture.iter(f"{SVG}rect"):
        if "x" in rect.attrib:
            assert float(rect.attrib["x"]) + float(rect.attrib["width"]) <= width


def test_widths_are_heights_to_scale() -> None:
    heights = [
        float(rect.attrib["height"]) for rect in blocks_of(drawn(reference("convnext_tiny")))
    ]
    assert heights[0] * 2 == heights[3] == heights[-1] / 4
    assert len(set(heights)) == 4


def test_a_stage_says_what_it_costs_and_whether_its_sequence_is_long() -> None:
    tiny = reference("mambaout_tiny")
    for size, last in ((224, 0), (1024, 2)):
        known = cost(tiny, size).stages
        words = words_of(drawn(tiny, size))
        total = sum(stage.macs for stage in known)
        for i, stage in enumerate(known):
            is_long = i <= last
            assert is_long == (stage.long_sequence_ratio > 1)
            ratio = f"L {stage.tokens:,}, L/6D {stage.long_sequence_ratio:.2f}"
            assert ratio + (" (long)" if is_long else "") in words
            assert f"{100 * stage.macs / total:.1f} % of the stages' MACs" in words
            assert f"stage {i + 1}: {tiny.stages[i].short}" in words


def test_a_mixer_may_change_half_way() -> None:
    gated, scan = Block(Gated(), GatedConv()), Block(Gated(), SSM(d_state=4))
    attention = Block(MetaFormer(), Attention(head_dim=8))
    picture = drawn(Architecture((Stage(16, (gated, scan)), Stage(32, (attention,), window=7))))
    fills = [rect.attrib["fill"] for rect in blocks_of(picture)]
    assert fills == [COLOURS["gated_conv"], COLOURS["ssm"], COLOURS["attention"]]
    titles = [rect.findtext(f"{SVG}title") for rect in blocks_of(picture)]
    assert titles[1] == "block 2 of 2: ssm (d_state 4)"
    assert "width 32, 7x7 windows" in words_of(picture)
