"""The connection to one database: settings, transactions with retry, errors in one line."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, final

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from ..errors import StoreError
from .urls import SQLITE, secrets, shown

BUSY_TIMEOUT_S: float = 60
CONNECT_TIMEOUT_S = 10
RETRY_DELAYS_S: tuple[float, ...] = (0.1, 0.5, 2.0)

WAIT_PAUSE_S: float = 2.0

# PostgreSQL: serialization failure and deadlock; a server that is stopping, crashed or starting.
_TRY_AGAIN_STATES = ("40001", "40P01", "57P01", "57P02", "57P03")

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


def engine_settings(url: URL) -> dict[str, Any]:
    """What create_engine takes besides the URL; Optuna's engine takes the same."""
    if url.drivername == SQLITE:
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    timeout = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT_S}
    return {"pool_pre_ping": True, "connect_args": timeout}


@final
class Database:
    """One engine and its transactions. Raises StoreError when the driver is not installed."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.wait_s = 0.0  # how long a transaction waits for a database that is away
        try:
            self.engine = sqlalchemy.create_engine(url, **engine_settings(url))
        except ImportError as error:
            raise StoreError(
                f"database {shown(url)}: its driver cannot be imported ({error}); "
                "install it with pip install 'hybridnas[postgres]'"
            ) from None
        if url.drivername == SQLITE:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._writer = self.engine.execution_options(hybridnas_writes=True)

    def read(self, work: Callable[[Session], Result]) -> Result:
        """The result of `work` in a transaction of its own, tried again like a write."""
        return self._try(self.engine, work)

    def write(self, work: Callable[[Session], Result]) -> Result:
        """The result of `work`, which is committed whole or not at all.

        `work` runs again, from its start, when the database was locked or the connection
        dropped. Raises StoreError when it stays so, and for any other refusal.
        """
        return self._try(self._writer, work)

    def _try(self, engine: Engine, work: Callable[[Session], Result]) -> Result:
        delays = iter(RETRY_DELAYS_S)
        deadline = time.monotonic() + self.wait_s
        with self.explained():
            while True:
                try:
                    return _transaction(engine, work)
                except DBAPIError as error:
                    delay_s = next(delays, None)
                    gives_up = delay_s is None and time.monotonic() > deadline
                    if gives_up or not _may_pass(error):
                        raise
                if delay_s is None:
                    _log.warning("database %s does not answer; waiting", shown(self.url))
                time.sleep(WAIT_PAUSE_S if delay_s is None else delay_s)

    @contextmanager
    def connection(self, *, writes: bool) -> Iterator[Connection]:
        """A transaction below the tables: for looking at the schema, and changing it. No retry."""
        engine = self._writer if writes else self.engine
        with self.explained(), engine.begin() as connection:
            yield connection

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turns what the driver raises into a StoreError of one line without credentials."""
        try:
            yield
        except Exception as raised:
            # Optuna puts an error of its own around it.
            error = raised if isinstance(raised, SQLAlchemyError) else raised.__cause__
            if not isinstance(error, SQLAlchemyError):
                raise
            text = str(getattr(error, "orig", None) or error)
            for secret in secrets(self.url):
                text = text.replace(secret, "***")
            cause = " ".join(text.split())
            if isinstance(error, IntegrityError) and "foreign key" in cause.lower():
                cause += " (study, architecture and protocol must have been put before)"
            # The chained error would show its text, and with it what was just taken out.
            raise StoreError(f"database {shown(self.url)}: {cause}") from None

    def use_write_ahead_log(self) -> None:
        """Lets readers go on while somebody writes. SQLite keeps this mode in the file.

        It cannot be switched on while others are at work in the file. All works without it as
        well, so after a few tries that is left to the next who opens the file.
        """
        if self.url.drivername != SQLITE:
            return
        # A connection of its own: those of the engine would wait for BUSY_TIMEOUT_S.
        connection = sqlite3.connect(str(self.url.database), timeout=0)
        try:
            for delay_s in RETRY_DELAYS_S:
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    return
                except sqlite3.OperationalError as error:
                    if not _is_busy(error):
                        return
                time.sleep(delay_s)
        finally:
            connection.close()

    def close(self) -> None:
        self.engine.dispose()


def _transaction(engine: Engine, work: Callable[[Session], Result]) -> Result:
    with Session(engine) as session, session.begin():
        return work(session)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Python's own BEGIN comes too late (before the first write): _begin_sqlite says it instead.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail at once when another wrote in
    # between, whatever the timeout; one that takes the write lock first waits for its turn.
    writes = connection.get_execution_options().get("hybridnas_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _may_pass(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed a moment later."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        return _is_busy(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    refused = isinstance(error, OperationalError) and state is None
    return refused or state in _TRY_AGAIN_STATES


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
