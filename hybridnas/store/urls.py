"""Database URLs: which ones are taken, and how one is shown without its password."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import StoreError

SQLITE = "sqlite"
POSTGRES = "postgresql+psycopg"

_ALLOWED = f"{SQLITE}:///FILE and {POSTGRES}://USER:PASSWORD@HOST:PORT/NAME"

# A password may hold any character when somebody forgot to quote it: it ends at the last @.
_USER_AND_PASSWORD = re.compile(r"^(.*?://[^:]*):.*@", re.DOTALL)
# A value goes on until the next KEY=, so an unquoted & inside of a password is hidden as well.
_PARAMETER = re.compile(r"([^&=]+)=(.*?)(?=&[^&=]+=|$)", re.DOTALL)
_SECRET_KEY = re.compile(r"pas|pwd|secret|token", re.IGNORECASE)


def redact(url: str) -> str:
    """The URL with *** for its password, also for passwords among its parameters.

    Takes any text. What is no proper URL loses everything that could be a password.
    """
    if not url.startswith(SQLITE + ":"):
        if "://" in url:
            url = _USER_AND_PASSWORD.sub(r"\1:***@", url)
        else:
            url = re.sub(r"^.*@", "***@", url, flags=re.DOTALL)
    address, question, query = url.partition("?")
    return address + question + _PARAMETER.sub(_hidden, query)


def _hidden(parameter: re.Match[str]) -> str:
    key = parameter.group(1)
    return f"{key}=***" if _SECRET_KEY.search(unquote(key)) else parameter.group()


def parse(url: str) -> URL:
    """The URL that the store uses: driver named, file of SQLite absolute.

    Absolute, because a Ray worker has another working directory than the search.
    Raises StoreError for anything but a SQLite file or a PostgreSQL server.
    """
    shown = redact(url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"not a database URL: {shown!r}; allowed: {_ALLOWED}") from None
    if parsed.drivername in ("postgres", "postgresql", POSTGRES):
        if "@" in (parsed.host or ""):
            raise StoreError(f"database URL {shown!r}: write an @ in the password as %40")
        return parsed.set(drivername=POSTGRES)
    if parsed.drivername == SQLITE and _is_file(parsed.database) and not parsed.query:
        return parsed.set(database=str(Path(parsed.database or "").absolute()))
    raise StoreError(f"database URL {shown!r} is not supported; allowed: {_ALLOWED}")


def _is_file(database: str | None) -> bool:
    return bool(database) and database != ":memory:" and not str(database).startswith("file:")


def in_full(url: URL) -> str:
    """The URL as text, password included: for opening, never for showing."""
    return url.render_as_string(hide_password=False)


def shown(url: URL) -> str:
    """The URL as text for messages and logs."""
    return redact(in_full(url))


def secrets(url: URL) -> list[str]:
    """Every text in the URL that no message may contain."""
    values = [str(url.password)] if url.password else []
    for key, value in url.query.items():
        if _SECRET_KEY.search(key):
            values += [value] if isinstance(value, str) else list(value)
    return [value for value in values if value]
