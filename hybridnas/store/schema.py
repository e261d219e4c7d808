"""The version of our tables in a database. Alembic moves it; Optuna has an alembic of its own.

Both keep their version in a table: ours is named apart, for each refuses to start on the
other's. And ours must look at nothing but its own tables, or it would drop Optuna's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from .models import PREFIX, Base

VERSION_TABLE = "nas_alembic_version"
SCRIPTS = Path(__file__).parent / "migrations"

# Any number that no other program takes in the same database ("hnas" in ASCII).
_ADVISORY_LOCK = 0x686E6173


def migration_options() -> dict[str, Any]:
    """What alembic is told wherever it meets our tables: migrating, and comparing to the models."""
    return {
        "target_metadata": Base.metadata,
        "version_table": VERSION_TABLE,
        "include_name": _is_ours,
        # SQLite can take a CREATE TABLE back; alembic assumes that Python's driver cannot.
        "transactional_ddl": True,
    }


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or (name or "").startswith(PREFIX)


def revisions() -> list[str]:
    """All versions that this program knows, oldest first."""
    script = ScriptDirectory.from_config(_config())
    return [revision.revision for revision in script.walk_revisions()][::-1]


def current_revision(connection: Connection) -> str | None:
    """The version of our tables in this database; None when it has none."""
    options = {"version_table": VERSION_TABLE}
    heads = MigrationContext.configure(connection, opts=options).get_current_heads()
    return ",".join(heads) or None


def lock(connection: Connection) -> None:
    """Waits until no other program migrates. SQLite's transaction holds the lock already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})


def upgrade(connection: Connection) -> None:
    """Brings our tables to the newest version, inside the connection's transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config
