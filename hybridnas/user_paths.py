"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from .errors import ConfigError


def expanded(path: str | Path) -> Path:
    """With a home folder in the place of `~` or `~name`; ConfigError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        home = Path(path).parts[0]
        raise ConfigError(f"{path}: there is no home folder {home}; give the whole path") from None
