"""SVG documents, element by element: always the same text for the same picture.

They stand alone (no script, font or file from elsewhere), are read on light and on dark screens,
and say in words what they show.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

_NAMESPACE = "http://www.w3.org/2000/svg"
_FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
_NARROW, _WIDE = " ijlftrI.,:;'|/()[]-", "mwMW%@"
# Its own ground, for the page around a picture may be light on a dark screen. `ink`: words and
# lines; `soft`: words that matter less; `part`: what mixes no tokens; `track`: the rest of a bar,
# and the lines behind a curve (`grid`).
_LIGHT = {"ground": "#ffffff", "ink": "#1f2328", "soft": "#59636e", "part": "#8b949e"}
_DARK = {"ground": "#16191d", "ink": "#e8eaed", "soft": "#a4abb3", "part": "#7d858e"}
_LIGHT["track"], _DARK["track"] = "#dfe3e8", "#3a4048"


class Drawing:
    """A picture that grows: shapes are drawn over those before them. Lengths are in pixels."""

    def __init__(self, title: str, description: str) -> None:
        self._root = ET.Element("svg", {"xmlns": _NAMESPACE, "role": "img"})
        ET.SubElement(self._root, "title").text = title
        ET.SubElement(self._root, "desc").text = description
        ET.SubElement(self._root, "style").text = _style()
        self._ground = ET.SubElement(self._root, "rect", {"class": "ground"})

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        look: str = "",
        colour: str = "",
        words: str = "",
    ) -> None:
        """look: a class of the style; colour: in its place. words: shown under the pointer."""
        box = {"x": x, "y": y, "width": width, "height": height}
        fill = {"class": look} if look else {"fill": colour}
        shape = ET.SubElement(self._root, "rect", {**_numbers(box), **fill})
        if words:
            ET.SubElement(shape, "title").text = words

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """A dashed outline."""
        box = _numbers({"x": x, "y": y, "width": width, "height": height})
        ET.SubElement(self._root, "rect", {"class": "frame", **box})

    def polygon(self, corners: list[tuple[float, float]], *, look: str) -> None:
        points = " ".join(f"{_number(x)},{_number(y)}" for x, y in corners)
        ET.SubElement(self._root, "polygon", {"class": look, "points": points})

    def path(self, points: list[tuple[float, float]], *, colour: str = "") -> None:
        """A line through points; without a colour in ink, thin."""
        line = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        given = {"stroke": colour, "stroke-width": "2"} if colour else {"class": "line"}
        ET.SubElement(self._root, "polyline", {"fill": "none", **given, "points": line})

    def dot(
        self,
        x: float,
        y: float,
        radius: float,
        *,
        colour: str,
        hollow: bool = False,
        words: str = "",
    ) -> None:
        """A circle around a point. words: shown under the pointer."""
        look = {"fill": "none", "stroke": colour} if hollow else {"fill": colour}
        at = _numbers({"cx": x, "cy": y, "r": radius})
        shape = ET.SubElement(self._root, "circle", {**at, **look})
        if words:
            ET.SubElement(shape, "title").text = words

    def text(
        self, x: float, y: float, words: str, *, size: int = 12, bold: bool = False, look: str = ""
    ) -> None:
        """Words that begin at x and stand on the line y."""
        weight = {"font-weight": "bold"} if bold else {}
        at = {**_numbers({"x": x, "y": y}), "font-size": str(size)}
        element = ET.SubElement(self._root, "text", {"class": look or "ink", **at, **weight})
        element.text = words

    def finish(self, width: float, height: float) -> str:
        """The document, of that size."""
        size = _numbers({"width": width, "height": height})
        self._root.attrib |= {**size, "viewBox": f"0 0 {size['width']} {size['height']}"}
        self._ground.attrib |= size
        ET.indent(self._root, " ")
        return ET.tostring(self._root, encoding="unicode") + "\n"


def text_width(words: str, size: int = 12, bold: bool = False) -> float:
    """At least what words take in a wide sans-serif font (DejaVu Sans), and little more."""
    narrow, wide = (sum(map(words.count, letters)) for letters in (_NARROW, _WIDE))
    ems = 0.40 * narrow + 0.98 * wide + 0.65 * (len(words) - narrow - wide)
    return size * ems * (1.14 if bold else 1)


def _style() -> str:
    light, dark = _colours(_LIGHT), _colours(_DARK)
    return (
        f"text {{ font-family: {_FONT}; }} {light} "
        f".frame {{ fill: none; stroke-dasharray: 4 3; }} "
        f"@media (prefers-color-scheme: dark) {{ {dark} }}"
    )


def _colours(by_name: dict[str, str]) -> str:
    by_name = {**by_name, "grid": by_name["track"]}
    fills = " ".join(f".{name} {{ fill: {colour}; }}" for name, colour in by_name.items())
    return f"{fills} .line, .frame {{ stroke: {by_name['soft']}; }}"


def _numbers(lengths: dict[str, float]) -> dict[str, str]:
    return {name: _number(value) for name, value in lengths.items()}


def _number(value: float) -> str:
    """At most two decimals, none that are not needed."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
