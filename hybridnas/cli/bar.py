"""How far a measurement is: a bar in a terminal, elsewhere a line every ten seconds at most."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from .common import ECHO

_SECONDS_BETWEEN_LINES = 10.0


class Narrow(Progress):
    """Of which nothing stays when a key is pressed while it runs."""

    def get_renderables(self) -> Iterator[RenderableType]:
        yield _Narrowed(self.make_tasks_table(self.tasks))


class _Narrowed:
    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._table, options.update(width=options.max_width - ECHO))


class Bar:
    """Drawn anew only when it is told something: a thread that draws would be measured, too."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Narrow(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            auto_refresh=False,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar_id = self._bar.add_task("starting", total=None)
        self._said = time.monotonic()

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def tell(self, what: str, done: int, total: int) -> None:
        """what: is measured, with how many of how many steps done."""
        self._bar.update(self._bar_id, description=what, completed=done, total=total, refresh=True)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            self._console.print(f"{what}: {done} of {total}")
