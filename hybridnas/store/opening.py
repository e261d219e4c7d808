"""Opening a database: is it there, is it one, and are its tables of this program's version?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, func, select, text
from sqlalchemy.orm import Session

from ..errors import NoDatabaseError, StoreError
from . import schema
from .engine import Database
from .models import Base
from .records import StoreInfo
from .urls import SQLITE, parse, shown


def open_database(url: str, *, create: bool) -> Database:
    """The database with tables of this program's version, made if `create` and there are none."""
    address = parse(url)
    _check_file(address, must_exist=not create)
    database = Database(address)
    try:
        revision = _revision(database)
        if revision is None:
            if not create:
                raise _no_database(address)
            revision = _migrate(database)[1]
        if revision != schema.revisions()[-1]:
            raise _other_version(revision, address)
        database.use_write_ahead_log()
    except BaseException:
        database.close()
        raise
    return database


def upgrade_database(url: str) -> tuple[str | None, str]:
    """The versions before and after. Tables are made in a database that has none."""
    address = parse(url)
    _check_file(address, must_exist=True)
    database = Database(address)
    try:
        revision = _revision(database)
        if revision is not None and revision not in schema.revisions():
            raise _other_version(revision, address)
        return _migrate(database)
    finally:
        database.close()


def info(database: Database) -> StoreInfo:
    return database.read(lambda session: _info(session, database.url))


def _check_file(address: URL, *, must_exist: bool) -> None:
    """Looks before SQLite does, which would make an empty file."""
    if address.drivername != SQLITE:
        return
    path = Path(str(address.database))
    if not path.parent.is_dir():
        raise StoreError(f"database {shown(address)}: there is no folder {path.parent}")
    if must_exist and not path.exists():
        raise _no_database(address)
    if path.exists() and not path.is_file():
        raise StoreError(f"database {shown(address)}: {path} is not a file")


def _revision(database: Database) -> str | None:
    with database.connection(writes=False) as connection:
        return schema.current_revision(connection)


def _migrate(database: Database) -> tuple[str | None, str]:
    """From and to which version; under a lock, so another program may have done it meanwhile."""
    with database.connection(writes=True) as connection:
        schema.lock(connection)
        before = schema.current_revision(connection)
        schema.upgrade(connection)
        return before, str(schema.current_revision(connection))


def _no_database(address: URL) -> NoDatabaseError:
    return NoDatabaseError(f"no database at {shown(address)}; `hybridnas search` creates it")


def _other_version(revision: str, address: URL) -> StoreError:
    known = schema.revisions()
    if revision in known:
        return StoreError(
            f"database {shown(address)} has tables of version {revision}, this program needs "
            f"{known[-1]}; run: hybridnas db upgrade --storage {shlex.quote(shown(address))}"
        )
    return StoreError(
        f"database {shown(address)} has tables of version {revision}, this program knows them up "
        f"to {known[-1]}: upgrade hybridnas"
    )


def _info(session: Session, address: URL) -> StoreInfo:
    backend: Literal["sqlite", "postgresql"]
    if address.drivername == SQLITE:
        backend = "sqlite"
        size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        backend = "postgresql"
        size = "SELECT pg_database_size(current_database())"
    return StoreInfo(
        url=shown(address),
        backend=backend,
        revision=str(schema.current_revision(session.connection())),
        rows={
            table.name: session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
        },
        size_bytes=session.scalar(text(size)) or 0,
    )
