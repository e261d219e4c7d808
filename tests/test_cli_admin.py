"""What holds for all commands; the dashboard, the database, and bad databases."""

from __future__ import annotations

import re
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from cli_helpers import DATABASE, Cli, write_study
from store_databases import NEWEST, NEXT, PASSWORD, execute

from hybridnas import __version__
from hybridnas.cli import app
from hybridnas.cli.lazy import COMMANDS as LISTED
from hybridnas.cli.lazy import commands_in, load_command
from hybridnas.config import Study
from hybridnas.search.studies import read_study
from hybridnas.store import Store, engine, redact, schema

pytest_plugins = ["cli_helpers", "store_databases"]

# Every command that reads a database, and would be done if that were in order.
READERS: list[list[str]] = [
    ["status", "shapes"],
    ["pareto", "shapes"],
    ["dashboard", "--port", "0"],
    ["db", "info"],
    ["export", "shapes:0", "--out", "model"],
    ["cost", "shapes:0"],
    ["search", "shapes", "--resume"],
]


def refused_by_all(cli: Cli, message: str, *words: str) -> None:
    for reader in READERS:
        refused = cli.refused(*reader, *words)
        assert message in refused, (reader, refused)


# ---------------------------------------------------------------- all commands


def commands(group: Any, name: str = "hybridnas") -> dict[str, Any]:
    """Every command with the words that call it."""
    found = {name: group}
    for word, command in getattr(group, "commands", {}).items():
        found |= commands(command, f"{name} {word}")
    return found


COMMANDS: dict[str, Any] = {"hybridnas": typer.main.get_command(app)}
for word in LISTED:
    COMMANDS |= commands(load_command(word), f"hybridnas {word}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_a_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert not [parameter.name for parameter in command.params if not parameter.help]
    if "storage" in {parameter.name for parameter in command.params}:
        (storage,) = (p for p in command.params if p.name == "storage")
        assert storage.envvar == "HYBRIDNAS_STORAGE"
        assert storage.default == "sqlite:///hybridnas.db"


@pytest.mark.parametrize("name", LISTED)
def test_help_lists_the_first_sentence_of_each_command(name: str) -> None:
    help_text = COMMANDS[f"hybridnas {name}"].help
    assert LISTED[name][1] == " ".join(help_text.partition("\n\n")[0].split())


def test_every_command_of_a_module_is_listed() -> None:
    for module in {module for module, _ in LISTED.values()}:
        names = {name for name, (of, _) in LISTED.items() if of == module}
        assert commands_in(module).keys() == names


def test_the_commands_are_those_that_were_promised() -> None:
    words = "search status pareto dashboard init doctor export evaluate cost archs spaces db"
    assert {*words.split()} <= LISTED.keys()
    for group, inner in (("archs", "show"), ("spaces", "show"), ("spaces", "sample")):
        assert f"hybridnas {group} {inner}" in COMMANDS
    assert {"hybridnas db info", "hybridnas db upgrade"} <= COMMANDS.keys()


def test_version_and_help(cli: Cli) -> None:
    assert cli.shown("--version") == f"hybridnas {__version__}"
    assert "Begin with" in cli.shown("--help")
    assert "Usage" in cli().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("serach",), "No such command 'serach'"),
        (("archs", "--jsno"), "No such option: --jsno"),
        (("cost",), "Missing argument 'ARCH'; see `hybridnas cost --help`"),
        (("cost", "a", "b"), "unexpected extra argument(s) (b); see `hybridnas cost --help`"),
        (("spaces", "sample", "hybrid", "-n", "0"), "Invalid value for '-n': "),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    cli: Cli, words: tuple[str, ...], message: str
) -> None:
    assert message in cli.refused(*words)


def test_ctrl_c_is_130_and_a_bug_goes_through(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(error: BaseException) -> None:
        def examine(*_: object) -> None:
            raise error

        monkeypatch.setattr("hybridnas.cli.doctor.examine", examine)

    raising(KeyboardInterrupt())
    done = cli("doctor")
    assert (done.code, done.out) == (130, "")
    raising(ZeroDivisionError())  # Python prints it whole, and ends with 1
    with pytest.raises(ZeroDivisionError):
        cli("doctor")


# ---------------------------------------------------------------- db


def test_db_info(populated: Cli) -> None:
    found = populated.json("db", "info")
    assert found["backend"] == "sqlite"
    assert found["studies"] == ["shapes", "empty"]
    assert found["rows"]["nas_trial"] == 6
    assert found["size_bytes"] == Path(DATABASE).stat().st_size
    shown = populated.shown("db", "info")
    assert "studies shapes, empty" in shown
    assert "rows of nas_evaluation 4" in shown


def test_db_upgrade(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no database at sqlite:" in cli.refused("db", "upgrade")
    Path(DATABASE).touch()
    assert cli.shown("db", "upgrade") == f"sqlite:///hybridnas.db: from none to {NEWEST}"
    assert cli.shown("db", "upgrade") == f"sqlite:///hybridnas.db: is at {NEWEST} already"
    monkeypatch.setenv("HYBRIDNAS_STORAGE", "sqlite:///other.db")
    assert "/other.db; `hybridnas search` creates it" in cli.refused("db", "upgrade")


# ---------------------------------------------------------------- dashboard and init


def test_dashboard_says_where_it_is(populated: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("socketserver.BaseServer.serve_forever", interrupted)
    done = populated("dashboard", "--port", "0")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("http://127.0.0.1:")
    assert "token" not in done.err
    tokens = set()
    for _ in range(2):  # whoever else reaches the address needs one, a new one every time
        shown = populated("dashboard", "--port", "0", "--host", "0.0.0.0").err
        found = re.match(r"http://\S+:\d+/dashboard/\?token=([\w-]{32})  \(Ctrl-C", shown)
        assert found, shown
        tokens.add(found[1])
    assert len(tokens) == 2
    empty = populated("dashboard", "--port", "0", "--host", "0.0.0.0", "--token", "").err
    assert re.search(r"\?token=[\w-]{32}  ", empty), "an empty one is none"
    monkeypatch.setenv("HYBRIDNAS_DASHBOARD_TOKEN", "open sesame")
    assert "/dashboard/?token=open%20sesame  (" in populated("dashboard", "--port", "0").err


def test_a_port_in_use_is_refused(populated: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        message = populated.refused("dashboard", "--port", port)
    assert f"dashboard: cannot listen on 127.0.0.1:{port} (" in message
    assert "Invalid value for '--port': " in populated.refused("dashboard", "--port", "65536")


def test_init_writes_a_study_once(cli: Cli) -> None:
    shown = cli.shown("init")
    assert shown == "written: study.yaml; run it with: hybridnas search study.yaml"
    Study.model_validate(yaml.safe_load(Path("study.yaml").read_text()))
    assert "study.yaml is there already: name another file" in cli.refused("init")
    assert "no/where.yaml cannot be written: No such file" in cli.refused("init", "no/where.yaml")
    assert cli.json("search", "study.yaml", "--dry-run")["study"] == "my_study"


def test_init_copies_a_shipped_study_under_the_new_name(cli: Cli) -> None:
    cli.shown("init", "mine.yaml", "--from", "quickstart")
    assert read_study("mine.yaml") == read_study("quickstart", ["name=mine"])
    cli.shown("init", "my own.yaml", "--from", "quickstart")  # no name of a study
    assert read_study("my own.yaml") == read_study("quickstart")
    assert "no study 'quikstart' (quickstart?): it" in cli.refused(
        "init", "a.yaml", "--from", "quikstart"
    )


# ---------------------------------------------------------------- bad databases


def test_a_missing_database(cli: Cli) -> None:
    refused_by_all(cli, f"/{DATABASE}; `hybridnas search` creates it")
    refused_by_all(cli, "/a.db; `hybridnas search` creates it", "--storage", "sqlite:///a.db")


def test_a_file_that_is_no_database(cli: Cli) -> None:
    Path(DATABASE).write_text("not a database, but long enough to be taken for one" * 10)
    refused_by_all(cli, "file is not a database")
    assert "file is not a database" in cli.refused("search", "quickstart")
    Path(DATABASE).write_text("")
    refused_by_all(cli, "no database at")


def test_an_older_database(populated: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "revisions", lambda: [NEWEST, NEXT])
    refused_by_all(populated, f"this program needs {NEXT}; run: hybridnas db upgrade --storage ")
    assert "run: hybridnas db upgrade" in populated.refused("search", "quickstart")


def test_a_newer_database(populated: Cli) -> None:
    execute(f"sqlite:///{DATABASE}", f"UPDATE {schema.VERSION_TABLE} SET version_num = '0099'")
    refused_by_all(populated, f"has tables of version 0099, this program knows them up to {NEWEST}")
    assert "upgrade hybridnas" in populated.refused("db", "upgrade")


def test_a_locked_database(populated: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr(engine, "RETRY_DELAYS_S", (0.01,))
    other = sqlite3.connect(DATABASE)
    other.execute("PRAGMA journal_mode=DELETE")
    other.execute("BEGIN EXCLUSIVE")
    refused_by_all(populated, f"/{DATABASE}: database is locked")
    other.close()


@pytest.mark.parametrize("url", ["mysql://u@h/x", "hybridnas.db", "sqlite://", "sqlite:///no/x.db"])
def test_a_bad_url(cli: Cli, url: str) -> None:
    for words in (["status", "shapes"], ["search", "quickstart"], ["db", "upgrade"]):
        message = cli.refused(*words, "--storage", url)
        assert any(
            s in message
            for s in ("allowed: sqlite:///FILE and", "there is no folder", "no database at")
        )


# ---------------------------------------------------------------- credentials


def test_a_password_is_never_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "RETRY_DELAYS_S", ())
    secret = "hunter2%2F"
    urls = [
        f"postgresql+psycopg://me:{secret}@127.0.0.1:1/x",
        "postgresql://me:hunter2/@127.0.0.1:1/x",
        "postgresql://127.0.0.1:1/x?password=hunter2",
        "mysql://me:hunter2@host/x",
        "me:hunter2@host",
    ]
    study = write_study()
    words = [*READERS, ["search", study], ["doctor"], ["doctor", "--json"], ["db", "upgrade"]]
    for url in urls:
        for by_environment in (False, True):
            if by_environment:
                monkeypatch.setenv("HYBRIDNAS_STORAGE", url)
            given = [] if by_environment else ["--storage", url]
            for command in words if url == urls[0] else words[:1] + words[-3:]:
                done = cli(*command, *given)
                assert done.code == (0 if "doctor" in command else 2), done
                assert "hunter2" not in done.out + done.err
        monkeypatch.delenv("HYBRIDNAS_STORAGE")
    assert [path.name for path in Path().iterdir()] == [study]


def test_a_servers_password_is_never_shown(cli: Cli, postgres_url: str) -> None:
    storage = ("--storage", postgres_url)
    Store.open(postgres_url).close()
    quoted = postgres_url.partition("tester:")[2].rpartition("@")[0]
    for words in (["db", "info"], ["db", "info", "--json"], ["db", "upgrade"], ["doctor"]):
        done = cli(*words, *storage)
        assert done.code == 0
        assert "***" in done.out
        assert quoted not in done.out + done.err
        assert PASSWORD not in done.out + done.err
    assert cli.json("db", "info", *storage)["url"] == redact(postgres_url)
    assert "no study 'shapes' in the database; it has: none" in cli.refused(
        "status", "shapes", *storage
    )
