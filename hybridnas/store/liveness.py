"""Whether the run of the search that wrote a session is still there."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from .models import SessionRow
from .records import SessionRecord

SILENCE = timedelta(seconds=120)

# /proc counts in clock ticks and whole seconds; a session begins well after its process.
_CLOCK_SLACK = timedelta(seconds=5)


def host() -> str:
    return socket.gethostname()


def is_alive(session: SessionRow | SessionRecord, now: datetime) -> bool:
    """Whether a session goes on.

    On this host its process decides, on another its last sign of life. After a restart of
    the machine or the container an unrelated process can have the same id: one that started
    after the session is not taken for it (where /proc tells, so not on macOS).
    """
    if session.ended_at is not None:
        return False
    if session.host != host():
        return now - session.last_seen_at < SILENCE
    started_at = _process_started_at(session.pid)
    reused = started_at is not None and started_at > session.started_at + _CLOCK_SLACK
    return _process_exists(session.pid) and not reused


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _process_started_at(pid: int) -> datetime | None:
    """When the process began, to a second; None where the system does not say."""
    try:
        # The name, in parentheses, may hold anything; the 20th field after it is the start.
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        boot = next(
            int(line.split()[1])
            for line in Path("/proc/stat").read_text().splitlines()
            if line.startswith("btime ")
        )
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return datetime.fromtimestamp(boot + ticks / os.sysconf("SC_CLK_TCK"), UTC)
