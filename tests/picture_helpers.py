"""Where the shapes and words of a picture are, and that all of them can be seen."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
from PIL import ImageFont

SVG = "{http://www.w3.org/2000/svg}"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def words_of(picture: ET.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def holds(self, other: Box) -> bool:
        across = self.left <= other.left and other.right <= self.right
        return across and self.top <= other.top and other.bottom <= self.bottom


@cache
def extent(words: str, size: int, bold: bool) -> tuple[float, float, float, float]:
    """Where the ink of words is, as a browser that has only DejaVu Sans would set them: a wider
    font than those asked for."""
    font = ImageFont.truetype(FONTS / f"DejaVuSans{'-Bold' if bold else ''}.ttf", size)
    return font.getbbox(words, anchor="ls")


def box_of(shape: ET.Element) -> Box:
    at = shape.attrib
    if shape.tag == f"{SVG}polygon":
        corners = [tuple(map(float, pair.split(","))) for pair in at["points"].split()]
        xs, ys = zip(*corners, strict=True)
        return Box(min(xs), min(ys), max(xs), max(ys))
    x, y = float(at["x"]), float(at["y"])
    if shape.tag == f"{SVG}rect":
        return Box(x, y, x + float(at["width"]), y + float(at["height"]))
    size, bold = int(at["font-size"]), "font-weight" in at
    left, top, right, bottom = extent(shape.text or "", size, bold)
    return Box(x + left, y + top, x + right, y + bottom)


def check_layout(picture: ET.Element) -> None:
    """Nothing leaves the picture, and nothing covers anything else."""
    whole = Box(0, 0, float(picture.attrib["width"]), float(picture.attrib["height"]))
    assert picture.attrib["viewBox"] == f"0 0 {picture.attrib['width']} {picture.attrib['height']}"
    apart: list[Box] = []
    tracks: list[Box] = []
    for shape in picture.iter():
        look = shape.get("class", "")
        if shape.tag not in (f"{SVG}rect", f"{SVG}text", f"{SVG}polygon") or look == "ground":
            continue
        box = box_of(shape)
        assert whole.holds(box), ET.tostring(shape)
        if shape.tag == f"{SVG}rect" and look == "soft":  # what is filled of a bar
            assert tracks[-1].holds(box)
        elif look not in ("frame", "grid"):  # which stand around and behind others
            apart.append(box)
        if look == "track":
            tracks.append(box)
    for one, other in itertools.combinations(apart, 2):
        assert not one.overlaps(other), (one, other)
