"""Databases and values for the tests of the store: a plug-in of pytest (`pytest_plugins`).

`url` is an empty database of each kind, so that one suite holds for all of them.
PYTEST_DONT_REWRITE: nothing is asserted here, and tests import from here before the plug-in loads.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy

from hybridnas.store import Evaluation, Store

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

# Holds every character that a URL, a template or a shell could stumble over.
PASSWORD = "s3{cret}/@:%'"
_PASSWORD_IN_URL = "s3%7Bcret%7D%2F%40%3A%25%27"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a throw-away PostgreSQL server, up to the name of the database."""
    if shutil.which("initdb") is None or shutil.which("pg_ctl") is None:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl on the PATH")
    folder = Path(tempfile.mkdtemp(prefix="hybridnas-postgres-"))
    # PostgreSQL refuses to run as root.
    user = "nobody" if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"
    try:
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = (
            f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        )
        for command in (
            f"initdb -D {data} -U tester -A scram-sha-256 --pwfile={folder / 'password'} "
            "--no-locale -E UTF8 --no-sync".split(),
            ["pg_ctl", "-D", str(data), "-l", str(log), "-w", "-o", options, "start"],
        ):
            subprocess.run(command, cwd=folder, user=user, stdout=subprocess.DEVNULL, check=True)
        yield f"postgresql+psycopg://tester:{_PASSWORD_IN_URL}@127.0.0.1:{port}/"
    finally:
        stop = ["pg_ctl", "-D", str(data), "-m", "immediate", "stop"]
        subprocess.run(stop, cwd=folder, user=user, capture_output=True, check=False)
        shutil.rmtree(folder)


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
