"""Optuna's storage on the same database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from ..errors import StoreError
from .engine import engine_settings
from .urls import in_full, shown

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

# Two programs that create Optuna's tables at once: the later one finds them at its next try.
_TRIES = 3


def open_storage(url: URL) -> RDBStorage:
    """Optuna's storage, its tables created where they are missing.

    Raises StoreError for tables of another version of Optuna, and what SQLAlchemy raises.
    """
    for _ in range(_TRIES - 1):
        try:
            return _open(url)
        except DBAPIError:
            continue
    return _open(url)


def _open(url: URL) -> RDBStorage:
    # At first use: workers record their results without it.
    from optuna.storages import RDBStorage

    storage = RDBStorage(
        # Optuna formats the URL as a template.
        in_full(url).replace("{", "{{").replace("}", "}}"),
        engine_kwargs=engine_settings(url),
        skip_compatibility_check=True,
    )
    current, known = storage.get_current_version(), storage.get_all_versions()
    if current == storage.get_head_version():
        return storage
    close_storage(storage)
    if current in known:
        advice = f"run: optuna storage upgrade --storage {shown(url)}"
    else:
        advice = "upgrade optuna"
    raise StoreError(f"database {shown(url)}: Optuna's tables have version {current}; {advice}")


def close_storage(storage: RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()
