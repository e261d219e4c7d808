"""The picture of trainings: every curve to scale, and in words how each ended."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from picture_helpers import SVG, check_layout, words_of

from hybridnas.pictures.curves import Curve, draw_curves


def drawn(*curves: Curve, words: str = "") -> ET.Element:
    picture = ET.fromstring(draw_curves("Trainings of a:1", curves, words))
    check_layout(picture)
    return picture


def lines_of(picture: ET.Element) -> list[list[tuple[float, float]]]:
    found = [line.attrib["points"].split() for line in picture.iter(f"{SVG}polyline")]
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in line)] for line in found]


def test_epochs_go_right_and_losses_up() -> None:
    low, high = [2.5, 1.5, 0.5, 1.0], [3.0, 2.0]
    picture = drawn(Curve("low", "ok", low, 4), Curve("high", "failed (diverged)", high, 4))
    first, second = lines_of(picture)
    assert len(first) == 4
    xs = [x for x, _ in first]
    assert [x - xs[0] for x in xs[1:]] == pytest.approx([560 / 3, 2 * 560 / 3, 560], abs=0.02)
    assert [x for x, _ in second] == xs[:2]
    scale = (first[1][1] - first[0][1]) / (low[0] - low[1])
    assert scale > 0
    for line, losses in ((first, low), (second, high)):
        for (_, y), loss in zip(line, losses, strict=True):
            assert y - first[0][1] == pytest.approx(scale * (low[0] - loss), abs=0.02)
    words = words_of(picture)
    assert words[:2] == ["Trainings of a:1", "mean training loss by epoch"]
    assert {"low: ok", "high: failed (diverged)", "1", "4"} <= set(words)
    described = picture.findtext(f"{SVG}desc") or ""
    assert described.startswith("low: ok. high: failed (diverged)")


@pytest.mark.parametrize("losses", [[2.0], [None, 2.0, None], [1e-9], [5e6, 5e6]])
def test_few_or_equal_losses(losses: list[float | None]) -> None:
    picture = drawn(Curve("x", "ok", losses, 3))
    known = sum(loss is not None for loss in losses)
    lines = lines_of(picture)
    assert [len(line) for line in lines] == ([known] if known > 1 else [])
    dots = [r for r in picture.iter(f"{SVG}rect") if r.attrib.get("width") == "6"]
    assert len(dots) == (known == 1)


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (0.31, 2.3, ["2.5", "2", "1.5", "1", "0.5", "0"]),
        (0.4999, 0.52, ["0.52", "0.51", "0.5", "0.49"]),
    ],
)
def test_round_numbers_stand_beside(low: float, high: float, marks: list[str]) -> None:
    words = words_of(drawn(Curve("x", "ok", [high, low], 9)))[2:]
    assert words == [*reversed(marks), "1", "5", "9", "x: ok"]


def test_without_an_epoch_words_alone() -> None:
    message = "CUDA out of memory. " * 40
    picture = drawn(Curve("15 epochs at 64 px", "failed (out_of_memory)", [], 15), words=message)
    assert lines_of(picture) == []
    words = words_of(picture)
    assert words[1] == "15 epochs at 64 px: failed (out_of_memory)"
    assert " ".join(words[2:]) in message
    assert len(words[2:]) == 6  # no more lines than that
    assert draw_curves("a", [], "") == draw_curves("a", [], "")
