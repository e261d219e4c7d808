"""Waits for a database that is away for a while: a finished training must not be lost to that."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import StoreError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def patiently(work: Callable[[], _T], minutes: float = 5, pause_s: float = 5) -> _T:
    """What work returns, tried again for some minutes while the database refuses it.

    Raises the last StoreError after that.
    """
    deadline = time.monotonic() + 60 * minutes
    while True:
        try:
            return work()
        except StoreError as error:
            if time.monotonic() > deadline:
                raise
            _log.warning("the database does not answer, trying again: %s", error)
            time.sleep(pause_s)
