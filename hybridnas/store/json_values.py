"""JSON that every database and every reader takes: without NaN and infinities."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence


def check(value: object) -> None:
    """Raises ValueError for NaN and infinities, TypeError for what JSON has no word for."""
    json.dumps(value, allow_nan=False)


def finite(value: object) -> object:
    """The same value, plain dicts and lists inside, with None for each NaN and infinity."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(item) for item in value]
    return value
