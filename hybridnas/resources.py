"""Finds the files that the package ships, in a wheel as in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .errors import ConfigError, meant
from .user_paths import expanded

Kind = Literal["search_spaces", "studies", "recipes", "tables", "bench", "bench_training"]

_PACKAGE = Path(__file__).resolve().parent
_IN_CHECKOUT: dict[Kind, str] = {
    "search_spaces": "search_spaces/*.yaml",
    "studies": "studies/*.yaml",
    "recipes": "hybridnas/recipes/*.yaml",
    "tables": "hybridnas/tables/*.yaml",
    "bench": "kernels/bench/*.py",
    "bench_training": "scripts/*_training.py",
}


def shipped(kind: Kind) -> dict[str, Path]:
    """The shipped files of one kind by name, in the order of their names."""
    in_wheel = _PACKAGE / "_data" / kind
    in_checkout = _PACKAGE.parent / _IN_CHECKOUT[kind]
    # An editable install has a stale copy beside the package's metadata, never here.
    folder = in_wheel if in_wheel.is_dir() else in_checkout.parent
    return {path.stem: path for path in sorted(folder.glob(in_checkout.name))}


def find(kind: Kind, name_or_path: str | Path) -> Path:
    """The YAML file that a user means: a shipped name, else a path.

    Raises ConfigError when there is neither, naming what is shipped.
    """
    text = str(name_or_path)
    names = shipped(kind)
    if text in names:
        return names[text]
    path = expanded(text)
    if path.is_file():
        return path
    what = {"search_spaces": "search space", "studies": "study"}.get(kind, kind.rstrip("s"))
    if path.is_dir():
        raise ConfigError(f"no {what} {text!r}: that is a folder, a YAML file is needed")
    raise ConfigError(
        f"no {what} {text!r}{meant(text, names)}: it is neither a file nor one of the shipped ones "
        f"({', '.join(names)})"
    )


def told(kind: Kind, path: Path) -> str:
    """What messages call a file: a shipped one by its name."""
    return path.stem if path == shipped(kind).get(path.stem) else str(path)
