"""Which URLs name a database, and that no message shows a password."""

from __future__ import annotations

import traceback

import pytest

from hybridnas.errors import StoreError
from hybridnas.store import Store, redact


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:s3cret@127.0.0.1:1/x",
        "postgres://127.0.0.1:1/x?user=u&password=s3cret",
        "postgresql://u:s3cret@127.0.0.1:port/x",
        "postgresql://u:more@s3cret@127.0.0.1:1/x",
        "postgresql:/u:s3cret@127.0.0.1:1/x",
        "mysql+pymysql://u:s3cret@127.0.0.1:1/x",
        "u:s3cret@127.0.0.1",
    ],
)
def test_no_error_holds_the_password(url: str) -> None:
    for action in (Store.open, Store.upgrade):
        with pytest.raises(StoreError) as caught:
            action(url)
        shown = "".join(traceback.format_exception(caught.value, chain=True))
        assert "\n" not in str(caught.value)
        assert "s3cret" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "study.db",
        "sqlite://study.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:study.db",
        "sqlite:///study.db?mode=ro",
        "mysql://host/x",
        "postgresql+asyncpg://host/x",
    ],
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(StoreError, match=r"allowed: sqlite:///FILE and postgresql\+psycopg://"):
        Store.open(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pw@host:5432/db", "postgresql://u:***@host:5432/db"),
        ("postgresql://u:p@w:/?&pw@host/db", "postgresql://u:***@host/db"),
        ("postgresql://u@corp:pw@host/db", "postgresql://u@corp:***@host/db"),
        ("postgresql://:pw@host/db", "postgresql://:***@host/db"),
        ("postgresql://u@host:5432/db", "postgresql://u@host:5432/db"),
        ("postgresql://host/db", "postgresql://host/db"),
        (
            "postgresql://h/db?user=u&password=p&w:x&port=1",
            "postgresql://h/db?user=u&password=***&port=1",
        ),
        ("postgresql://h/db?p%61ssword=pw", "postgresql://h/db?p%61ssword=***"),
        ("postgresql://h/db?sslmode=require", "postgresql://h/db?sslmode=require"),
        ("postgresql:/u:pw@host", "***@host"),
        ("u:pw@host", "***@host"),
        ("sqlite:////home/me@corp/a:b@c.db", "sqlite:////home/me@corp/a:b@c.db"),
        ("://:@", "://:***@"),
        ("", ""),
        ("\n\0?=&=", "\n\0?=&="),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown
