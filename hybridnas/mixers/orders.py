"""Orders in which a scan reads a map.

h: row by row; v: column by column; wK: window by window, K x K tokens each, both in row-major
order (LocalMamba, Huang et al., arXiv 2403.09338); each also backwards (`_flip`). Windows only
reorder: a scan keeps its state from one window to the next.
"""

from __future__ import annotations

import re

from ..counting import windows_of

# (window, flip): the side of the windows; 0: row by row, -1: column by column. Plain numbers, and
# no named ones, since TorchScript compiles the functions that read them.
Order = tuple[int, bool]

_NAME = re.compile(r"(h|v|w[1-9]\d*)(_flip)?")


def order_of(name: str) -> Order | None:
    """What a direction's name means; None if it means nothing."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind, flip = found.groups()
    window = {"h": 0, "v": -1}.get(kind)
    return int(kind[1:]) if window is None else window, flip is not None


def length(window: int, height: int, width: int) -> int:
    """How many tokens a sequence has: windows pad the map to a multiple of their side."""
    if window <= 0:
        return height * width
    return windows_of((height, width), window)[0] * window * window
