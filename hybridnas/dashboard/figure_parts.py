"""What plots of the page have in common."""

from __future__ import annotations

from typing import Any

Figure = dict[str, Any]
"""As plotly reads it."""


def layout(title: str, **more: Any) -> Figure:
    base = {
        "title": {"text": title, "font": {"size": 15}, "x": 0.02},  # buttons stand at the right
        "margin": {"l": 60, "r": 30, "t": 50, "b": 50},
        "legend": {"orientation": "h", "y": -0.2},
        "hovermode": "closest",
        "uirevision": "true",  # zoom and choices stay when the page asks anew
    }
    return {**base, **more, "margin": {**base["margin"], **more.get("margin", {})}}  # type: ignore[dict-item]


def rounded(value: float) -> float:
    """Six digits, for the page asks for it again and again."""
    return float(f"{value:.6g}")
