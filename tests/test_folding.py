"""What a terminal of 80 columns gets: nothing is broken within a word, nor within a command."""

from __future__ import annotations

import pytest
from cli_helpers import Cli
from screen_helpers import on_screen

from hybridnas.cli.ending import end
from hybridnas.cli.folding import folded
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers", "screen_helpers"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("  one two\nthree", ["  one two", "three"]),
        ("  one two three", ["  one two", "  three"]),
        ("a/path-that-is/long is kept", ["a/path-that-is/long", "is kept"]),
        ("as `cd x; ls y z` says", ["as", "`cd x; ls y z`", "says"]),
        ("no (hybridnas a --b c)", ["no", "(hybridnas a --b c)"]),
        ("run: hybridnas a b", ["run:", "hybridnas a b"]),
        ("no file a\N{NO-BREAK SPACE}b c", ["no file", "a\N{NO-BREAK SPACE}b c"]),
        ("", [""]),
    ],
)
def test_lines_fold_between_words_and_commands_stay_whole(text: str, lines: list[str]) -> None:
    assert folded(text, 10).split("\n") == lines
    assert folded(text, 0) == text, "COLUMNS=0"


def test_a_sentence_in_a_terminal_and_in_a_pipe(
    cli: Cli, narrow: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = on_screen(cli("table", "show").out)
    assert "standard deviation between architectures 0.0094 (seeds' noise taken off)," in shown
    assert "between seeds 0.0139" in shown
    error = on_screen(cli("spaces", "show", "nothing").err)
    monkeypatch.delenv("FORCE_COLOR")
    assert " ".join(error) == cli("spaces", "show", "nothing").err.rstrip()
    assert len(error) > 1
    assert "(seeds' noise taken off), between seeds 0.0139\n" in cli("table", "show").out


@pytest.mark.parametrize("columns", ["80", "120"])
def test_what_to_do_next_can_be_copied(
    populated: Cli,
    narrow: None,
    columns: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with Store.open("sqlite:///hybridnas.db", create=False) as store:
        end(StudyView("shapes", store), "trials", "sqlite:///hybridnas.db", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    report = lines.index("Next:") + 1
    command, does = "  hybridnas report shapes --out shapes.html", "all of it, to read and to send"
    if columns == "80":
        assert lines[report : report + 2] == [command, f"      {does}"]
    else:
        assert lines[report].split("   ")[0] == command
        assert lines[report].endswith(f"  {does}")
    assert max(map(len, lines[report:])) <= int(columns)
