"""The picture of an architecture: what stands in it, to scale, and that all of it can be read."""

from __future__ import annotations

import itertools
import random
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
import pytest
from picture_helpers import SVG, box_of, check_layout, words_of

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.cost import Cost, cost
from hybridnas.layers.blocks import Gated, MetaFormer
from hybridnas.mixers.attention import Attention
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.pictures import MIXER_COLOURS, draw, mixer_colours
from hybridnas.pictures.palette import SPARE_COLOURS
from hybridnas.pictures.scale import log_ticks
from hybridnas.reference import REFERENCES, reference
from hybridnas.resources import shipped
from hybridnas.space import SearchSpace


def drawn(
    architecture: Architecture, known: Cost | None = None, title: str = "a < b"
) -> ET.Element:
    return ET.fromstring(draw(architecture, known or cost(architecture), title))


def blocks_of(picture: ET.Element) -> list[ET.Element]:
    """The blocks: they alone have a colour of their own and say something under the pointer."""
    rects = picture.iter(f"{SVG}rect")
    return [r for r in rects if "fill" in r.attrib and r.find(f"{SVG}title") is not None]


def check_network(architecture: Architecture, picture: ET.Element) -> None:
    """Every block in its colour, its height the width of its stage, its place by its number."""
    colours = mixer_colours(b.mixer_name for stage in architecture.stages for b in stage.blocks)
    wanted = [
        (stage, block, i) for stage in architecture.stages for i, block in enumerate(stage.blocks)
    ]
    scale = 120 / max(stage.width for stage in architecture.stages)
    first = 0.0
    for shape, (stage, block, i) in zip(blocks_of(picture), wanted, strict=True):
        assert shape.attrib["fill"] == colours[block.mixer_name]
        box = box_of(shape)
        assert box.bottom - box.top == pytest.approx(scale * stage.width, abs=0.02)
        first = first if i else box.left
        assert box.left - first == pytest.approx(14 * i, abs=0.02)
    frames = [box_of(r) for r in picture.iter(f"{SVG}rect") if r.get("class") == "frame"]
    windowed = [stage.window for stage in architecture.stages if stage.window]
    assert len(frames) == len(windowed) + bool(windowed)  # and one in the legend


def samples() -> Iterator[tuple[str, Architecture]]:
    for name, known in REFERENCES.items():
        yield name, known.architecture
    for name in shipped("search_spaces"):
        space, rng = SearchSpace.load(name), random.Random(0)
        for i in range(30):
            yield f"{name} {i}", space.sample(rng)


def test_all_can_be_read_and_are_to_scale() -> None:
    for name, architecture in samples():
        picture = drawn(architecture, title=name)
        check_layout(picture)
        check_network(architecture, picture)


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_a_dense_head_takes_its_share(task: str) -> None:
    tiny = reference("vmamba_tiny_s1l8")
    known = cost(tiny, task=task)
    picture = drawn(tiny, known)
    check_layout(picture)
    assert f"{100 * known.head.macs / known.macs:.1f} %" in words_of(picture)
    height, width = known.input_size
    assert any(words.endswith(f"MACs at {height} x {width} px") for words in words_of(picture))


@pytest.mark.parametrize("title", ["x" * 100, "W", 'a < b & "c"'])
def test_a_title_of_any_length_fits(title: str) -> None:
    picture = drawn(reference("vim_tiny"), title=title)
    check_layout(picture)
    assert words_of(picture)[0] == title
    assert (picture.findtext(f"{SVG}title") or "").startswith(f"{title}: S24, 7.15 M parameters, ")


def test_blocks_that_alternate_and_very_different_widths() -> None:
    gated, scan = Block(Gated(), GatedConv()), Block(Gated(), SSM(d_state=4))
    attention = Block(MetaFormer(), Attention(head_dim=8))
    stages = (Stage(8, (gated, scan) * 7), Stage(1024, (attention,), window=7), Stage(16, (scan,)))
    architecture = Architecture(stages)
    picture = drawn(architecture)
    check_layout(picture)
    check_network(architecture, picture)
    titles = [rect.findtext(f"{SVG}title") for rect in blocks_of(picture)]
    assert titles[1] == "block 2 of 14: ssm (d_state 4)"
    words = words_of(picture)
    assert "7 x 7" in words
    assert {"G: gated_conv", "S: ssm", "A: attention", "mixes inside of windows"} <= set(words)


def test_a_stage_says_what_it_costs_and_whether_its_sequence_is_long() -> None:
    tiny = reference("mambaout_tiny")
    for size, num_long in ((224, 1), (1024, 3)):
        known = cost(tiny, size)
        assert [stage.long_sequence_ratio > 1 for stage in known.stages] == [
            i < num_long for i in range(4)
        ]
        picture = drawn(tiny, known)
        words = words_of(picture)
        for stage in known.stages:
            assert f"{stage.tokens:,}" in words
            assert f"{stage.long_sequence_ratio:.2f}" in words
            assert f"{100 * stage.macs / known.macs:.1f} %" in words
        marks = [p for p in picture.iter(f"{SVG}polygon") if p.attrib["class"] == "ink"]
        assert len(marks) == num_long + 1  # and one in the legend
        described = picture.findtext(f"{SVG}desc") or ""
        assert described.count("a long sequence") == num_long
        assert all(line in described for line in tiny.describe())


def test_shares_are_bars_of_one_length() -> None:
    known = cost(reference("caformer_s18"))
    picture = drawn(reference("caformer_s18"), known)
    rects = [r for r in picture.iter(f"{SVG}rect") if r.get("class") == "soft"]
    shares = [float(r.attrib["width"]) / 60 for r in rects]
    macs = [known.stem.macs, *(stage.macs for stage in known.stages), known.head.macs]
    assert shares == pytest.approx([part / known.macs for part in macs], abs=2e-4)
    assert sum(macs) == known.macs


def test_it_stands_alone_and_is_always_the_same() -> None:
    tiny = reference("mambavision_tiny")
    text = draw(tiny, cost(tiny), "tiny")
    assert text == draw(tiny, cost(tiny), "tiny")
    assert "prefers-color-scheme: dark" in text
    for word in ("href", "url(", "@import", "<script", "foreignObject"):
        assert word not in text
    assert [line for line in text.splitlines() if "http" in line] == [text.splitlines()[0]]


def test_mixers_of_ones_own_get_colours_that_differ() -> None:
    names = ["mine:A", "ssm", "mine:B", "mine:A", "mine:C", "mine:D"]
    found = mixer_colours(names)
    assert list(found) == ["mine:A", "ssm", "mine:B", "mine:C", "mine:D"]
    assert found["ssm"] == MIXER_COLOURS["ssm"]
    assert len(set(found.values())) == 4
    assert found["mine:D"] == found["mine:A"]


# Machado, Oliveira & Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency" (2009), table 1, severity 1.0; on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3).tolist(),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(colour: str, deficiency: list[list[float]]) -> np.ndarray:
    """CIE L*a*b* (D65) of an sRGB colour as somebody with a deficiency sees it."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(deficiency) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ seen / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("who", DEFICIENCIES)
def test_colours_of_mixers_differ_for_everybody(who: str) -> None:
    seen = [lab(colour, DEFICIENCIES[who]) for colour in (*MIXER_COLOURS.values(), *SPARE_COLOURS)]
    # 2.3 is a just noticeable difference.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 10


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (1.06e6, 2.28e6, [1e6, 1.5e6, 2e6, 2.5e6]),
        (3e7, 3e7, [2e7, 3e7, 4e7]),
        (3e6, 3e7, [2e6, 5e6, 1e7, 2e7, 5e7]),
        (3e6, 4e9, [1e6, 1e7, 1e8, 1e9, 1e10]),
    ],
)
def test_marks_of_costs_go_around_them(low: float, high: float, marks: list[float]) -> None:
    assert log_ticks(low, high) == marks


def test_marks_of_costs_are_positive() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        low = 10 ** rng.uniform(3, 12)
        high = low * 10 ** rng.uniform(0, 4)
        marks = log_ticks(low, high)
        assert 0 < marks[0] <= low * (1 + 1e-9)
        assert high * (1 - 1e-9) <= marks[-1]
