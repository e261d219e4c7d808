"""A report as a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError
from ..search.view import StudyView
from .facts import ReportFacts
from .render import drawings_of, to_html, to_markdown
from .results import pictures

SUFFIXES = (".html", ".md")


def check_name(path: Path) -> None:
    """Raises ConfigError for what a report is not written as."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out takes a file in {' or '.join(SUFFIXES)}, got {path.name!r}")


def write_report(view: StudyView, facts: ReportFacts, path: Path) -> list[Path]:
    """One .html file that needs no other, or a .md file with its pictures in a folder beside it
    (FILE_files). Returns what was written.

    Raises ConfigError for another suffix, and where it cannot be written.
    """
    check_name(path)
    of_members = {f"trial-{number}": svg for number, svg in pictures(view).items()}
    drawings = drawings_of(facts) | of_members
    try:
        if path.suffix.lower() == ".html":
            path.write_text(to_html(facts, drawings), encoding="utf-8")
            return [path]
        folder = path.with_name(f"{path.stem}_files")
        links = _write_into(folder, drawings)
        path.write_text(to_markdown(facts, links), encoding="utf-8")
        return [path, folder]
    except OSError as error:
        raise ConfigError(f"--out: {error.filename} cannot be written ({error.strerror})") from None


def _write_into(folder: Path, drawings: Mapping[str, str]) -> dict[str, str]:
    """The pictures as files; their links from a file beside the folder."""
    folder.mkdir(exist_ok=True)
    for name, svg in drawings.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    return {name: f"{folder.name}/{name}.svg" for name in drawings}
