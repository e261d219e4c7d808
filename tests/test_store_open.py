"""Opening, upgrading and naming a database: what works, and what each mistake is told."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from store_databases import NEWEST, NEXT, PASSWORD, execute

from hybridnas.errors import StoreError
from hybridnas.store import Store, engine, schema
from hybridnas.store.models import Base
from hybridnas.store.urls import parse

pytest_plugins = ["store_databases"]

NEXT_MIGRATION = f"""
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{NEWEST}"


def upgrade() -> None:
    op.add_column("nas_study", sa.Column("note", sa.String()))
"""


@pytest.fixture
def newer_scripts(tmp_path: Path) -> Path:
    """The migrations of a later program, which has a next version of the tables."""
    scripts = tmp_path / "100% migrations"
    shutil.copytree(schema.SCRIPTS, scripts)
    (scripts / "versions" / f"{NEXT}_note.py").write_text(NEXT_MIGRATION)
    return scripts


def sqlite_file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


# ---------------------------------------------------------------- the schema


@pytest.mark.parametrize("with_optuna", [False, True])
def test_the_migrations_make_exactly_the_models(url: str, with_optuna: bool) -> None:
    with Store.open(url) as store:
        if with_optuna:
            optuna.create_study(storage=store.optuna_storage())
    database = sqlalchemy.create_engine(url)
    options = {**schema.migration_options(), "compare_server_default": True}
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
    database.dispose()


def test_tables_are_added_to_those_of_optuna(url: str) -> None:
    storage = optuna.storages.RDBStorage(url.replace("{", "{{").replace("}", "}}"))
    optuna.create_study(storage=storage, study_name="first")
    storage.remove_session()
    storage.engine.dispose()
    with pytest.raises(StoreError, match=r"no database at .*; `hybridnas search` creates it"):
        Store.open(url, create=False)
    with Store.open(url) as store:
        assert optuna.get_all_study_names(store.optuna_storage()) == ["first"]
        assert store.study_names() == []


def test_upgrade_goes_from_none_to_the_newest(url: str) -> None:
    if url.startswith("sqlite"):
        sqlite_file(url).touch()
    assert Store.upgrade(url) == (None, NEWEST)
    assert Store.upgrade(url) == (NEWEST, NEWEST)
    Store.open(url, create=False).close()


def test_older_tables_are_upgraded_and_newer_ones_refused(
    url: str, newer_scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(url) as store:
        store.put_study("first", {})
    with monkeypatch.context() as later:
        later.setattr(schema, "SCRIPTS", newer_scripts)
        with pytest.raises(StoreError, match="run: hybridnas db upgrade --storage '") as caught:
            Store.open(url)
        assert f"version {NEWEST}, this program needs {NEXT}" in str(caught.value)
        assert "s3" not in str(caught.value)
        assert Store.upgrade(url) == (NEWEST, NEXT)
        with Store.open(url, create=False) as store:
            assert store.study_names() == ["first"]
    for action in (Store.open, Store.upgrade):
        with pytest.raises(StoreError, match=f"{NEXT}, .* up to {NEWEST}: upgrade hybridnas"):
            action(url)


def test_a_failed_upgrade_changes_nothing(
    url: str, newer_scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(url).close()
    with (newer_scripts / "versions" / f"{NEXT}_note.py").open("a") as script:
        script.write('    op.drop_table("no such table")\n')
    with monkeypatch.context() as later:
        later.setattr(schema, "SCRIPTS", newer_scripts)
        with pytest.raises(StoreError, match="no such table"):
            Store.upgrade(url)
    with Store.open(url) as store:
        assert store.info().revision == NEWEST
    execute(url, "ALTER TABLE nas_study ADD COLUMN note VARCHAR")


def test_programs_that_open_a_new_database_at_once_agree(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(Store.open, [url] * 4))
    for number, store in enumerate(stores):
        store.put_study(f"study {number}", {})
    assert len(stores[0].study_names()) == 4
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    ("version", "advice"),
    [("v2.6.0.a", "run: optuna storage upgrade --storage "), ("v99", "upgrade optuna")],
)
def test_tables_of_another_optuna(url: str, version: str, advice: str) -> None:
    with Store.open(url) as store:
        store.optuna_storage()
        execute(url, f"UPDATE alembic_version SET version_num = '{version}'")
    with Store.open(url) as store, pytest.raises(StoreError, match=f"{version}; {advice}"):
        store.optuna_storage()


# ---------------------------------------------------------------- SQLite


def journal_mode(url: str) -> str:
    connection = sqlite3.connect(sqlite_file(url))
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    return str(mode)


def test_a_busy_file_gets_its_write_ahead_log_later(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "RETRY_DELAYS_S", (0.01,))
    Store.open(sqlite_url).close()
    assert journal_mode(sqlite_url) == "wal"
    other = sqlite3.connect(sqlite_file(sqlite_url))
    other.execute("PRAGMA journal_mode=DELETE")
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM nas_study").fetchone()
    Store.open(sqlite_url).close()
    other.close()
    assert journal_mode(sqlite_url) == "delete"
    Store.open(sqlite_url).close()
    assert journal_mode(sqlite_url) == "wal"


def test_the_url_of_a_file_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open("sqlite:///here.db") as store:
        assert store.url == f"sqlite:///{tmp_path}/here.db"


def test_without_create_nothing_is_written(sqlite_url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no database at .*; `hybridnas search` creates it"):
        Store.open(sqlite_url, create=False)
    with pytest.raises(StoreError, match="no database at "):
        Store.upgrade(sqlite_url)
    assert list(tmp_path.iterdir()) == []
    execute(sqlite_url, "CREATE TABLE other (id INTEGER)")
    before = sqlite_file(sqlite_url).read_bytes()
    with pytest.raises(StoreError, match="no database at "):
        Store.open(sqlite_url, create=False)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_what_is_no_database_stays_as_it_is(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database")
    with pytest.raises(StoreError, match="file is not a database"):
        Store.open(f"sqlite:///{text}")
    assert text.read_text() == "not a database"
    with pytest.raises(StoreError, match="is not a file"):
        Store.open(f"sqlite:///{tmp_path}")
    with pytest.raises(StoreError, match=f"there is no folder {tmp_path}/missing"):
        Store.open(f"sqlite:///{tmp_path}/missing/study.db")
    assert list(tmp_path.iterdir()) == [text]


def test_a_locked_file_is_reported(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.01)
    other = sqlite3.connect(sqlite_file(sqlite_url))
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"^database sqlite:.*: database is locked$"):
        Store.open(sqlite_url)
    other.close()


# ---------------------------------------------------------------- PostgreSQL


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_the_driver_of_postgres_may_be_left_out(postgres_url: str, scheme: str) -> None:
    with Store.open(postgres_url.replace("postgresql+psycopg", scheme)) as store:
        assert parse(store.url) == parse(postgres_url)
        assert store.info().backend == "postgresql"
        assert optuna.get_all_study_names(store.optuna_storage()) == []


def test_a_server_that_refuses(postgres: str) -> None:
    with pytest.raises(StoreError, match='database "missing" does not exist'):
        Store.open(postgres + "missing")
    wrong = postgres.replace(":s3", ":wrong-s3cret")
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        Store.open(wrong + "postgres")
    assert "wrong" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'hybridnas\[postgres\]'"):
        Store.open("postgresql://u:s3cret@127.0.0.1:1/x")
