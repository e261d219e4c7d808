"""Databases and values for the tests of the store: a plug-in of pytest (`pytest_plugins`).

`url` is an empty database of each kind, so that one suite holds for all of them.
PYTEST_DONT_REWRITE: nothing is asserted here, and tests import from here before the plug-in loads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy
from postgres_server import PASSWORD as PASSWORD
from postgres_server import Server, is_installed

from hybridnas.store import Evaluation, Store, schema

NEWEST = schema.revisions()[-1]
NEXT = f"{int(NEWEST) + 1:04}"  # which no program knows
STUDY, ARCHITECTURE, PROTOCOL = "shapes", "0123456789ab", "fedcba987654"
START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

EVALUATION = Evaluation(
    architecture_digest=ARCHITECTURE,
    protocol_digest=PROTOCOL,
    status="ok",
    seed=2**40,
    started_at=START,
    ended_at=START + timedelta(minutes=5),
    metrics={"top1": 0.75, "loss": 1.5},
    curve=({"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 1.5}),
    timing={"train_s": 12.5},
    machine={"gpu": "H200", "gpus": 1},
    versions={"torch": "2.11"},
    git_commit="abc",
    weights={"path": "s3://weights/1", "sha256": "00"},
)
FAILED = replace(EVALUATION, status="failed", reason="diverged", message="loss is nan", metrics={})


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a throw-away PostgreSQL server, up to the name of the database."""
    if not is_installed():
        pytest.skip("needs PostgreSQL's initdb and pg_ctl on the PATH")
    with Server() as server:
        yield server.url


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """An empty database on the server."""
    name = f"test_{uuid4().hex}"
    execute(postgres + "postgres", f"CREATE DATABASE {name}", isolation_level="AUTOCOMMIT")
    return postgres + name


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'my {first} study.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind in turn."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        opened.put_study(STUDY, {"budget": {"trials": 20}})
        opened.put_architecture(ARCHITECTURE, "{}")
        opened.put_protocol(PROTOCOL, "{}")
        yield opened


def lease(store: Store, number: int = 0) -> str:
    return store.lease(STUDY, number, ARCHITECTURE, PROTOCOL)


def execute(url: str, statement: str, **engine_options: str) -> None:
    """Runs one statement behind the store's back."""
    engine = sqlalchemy.create_engine(url, **engine_options)
    try:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(statement))
    finally:
        engine.dispose()
