"""A session's signs of life, whatever its search is busy with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ..errors import StoreError
from ..store import Store

_EVERY_S = 15.0


class Heartbeat:
    """Beats from a thread of its own until the end of the `with`.

    counts: proposals and redrawn ones so far. on_error: is told, in that thread, that the database
    refused one; it goes on all the same. Both may be set at any time.
    """

    def __init__(self, store: Store, session: int, every_s: float = _EVERY_S) -> None:
        self._store, self._session, self._every_s = store, session, every_s
        self.counts: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.on_error: Callable[[StoreError], None] = lambda error: None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if kind is None:
            self._beat()  # the last counts

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self._beat()
            except StoreError as error:
                self.on_error(error)

    def _beat(self) -> None:
        self._store.heartbeat(self._session, *self.counts())
