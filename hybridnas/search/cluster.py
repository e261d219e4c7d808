"""Is there a Ray head at an address, and can all its machines write to the database?"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from ..errors import ConfigError
from ..store import redact

LOCAL = "local"
_TIMEOUT_S = 5


def address_of(given: str | None) -> str:
    """Where Ray is: as given, else $RAY_ADDRESS, else started here (LOCAL)."""
    return given or os.environ.get("RAY_ADDRESS") or LOCAL


def check_reachable(address: str | None) -> None:
    """Raises ConfigError when nobody listens at HOST:PORT.

    Ray itself keeps trying for ten minutes and more. None stands for $RAY_ADDRESS, as it does for
    Ray; without that, and for the words that Ray knows (auto, local), nothing is looked at.
    """
    address = address_of(address)
    if address in ("auto", LOCAL):
        return
    host, colon, port = address.rpartition(":")
    if "//" in host or not (colon and host and port.isdecimal() and int(port) < 2**16):
        raise ConfigError(
            f"a Ray address is HOST:PORT of a head, auto or local, got {address!r} "
            f"(start the search on a machine of the cluster)"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S).close()
    except OSError as error:
        raise ConfigError(
            f"no Ray head answers at {address!r} ({error.strerror or error}); start one with "
            f"`ray start --head`, or leave --ray out to run on this machine alone"
        ) from None


def check_reach(storage_url: str, driver: str, hosts: Iterable[str]) -> None:
    """Raises ConfigError where workers on other hosts than the driver's would write to a file.

    SQLite's locks do not hold over networks, and the file is only there.
    """
    others = sorted(set(hosts) - {driver})
    if others and storage_url.startswith("sqlite"):
        raise ConfigError(
            f"the database is a file on {driver} ({redact(storage_url)}), and Ray has workers on "
            f"{', '.join(others)}: with more than one machine a search needs PostgreSQL "
            f"(--storage postgresql+psycopg://USER:PASSWORD@HOST/NAME; `hybridnas db merge` takes "
            f"what is in the file along)"
        )
