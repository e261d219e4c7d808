"""INSERT ... ON CONFLICT, which SQLite and PostgreSQL spell alike and SQLAlchemy does not."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from .models import Base


def insert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into the table that takes on_conflict_do_nothing and on_conflict_do_update."""
    return insert_of(session.get_bind().dialect.name, table)


def insert_of(dialect: str, table: Any) -> postgresql.Insert | sqlite.Insert:
    """The same, by the dialect's name."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
