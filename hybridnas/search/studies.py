"""Finds a study: its YAML, or what the database has of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..config import Protocol, Study, parse_study
from ..errors import ConfigError, meant
from ..resources import find, told
from ..space import SearchSpace
from ..store import Store, is_alive
from ..strict_yaml import explain, override, read_yaml


def has_trials(store: Store, name: str, resume: bool) -> bool:
    """Whether the database has trials of a study: one without any is as good as new.

    Raises ConfigError where it has, and resume is not asked for.
    """
    if not store.has_trials(name):
        return False
    if not resume:
        now = datetime.now(UTC)
        runs = next((run for run in store.sessions(name) if is_alive(run, now)), None)
        if runs is not None:
            raise ConfigError(
                f"study {name!r} is being searched now, by process {runs.pid} on {runs.host}: wait "
                f"until it ends (`hybridnas status {name} --watch`), or give this one another name "
                f"(--set name=...)"
            )
        raise ConfigError(
            f"study {name!r} is in the database already: go on with --resume, "
            f"or give this one another name (--set name=...)"
        )
    return True


def written_out(study: Study, space: SearchSpace) -> dict[str, Any]:
    """A study as the database keeps it: complete, with its space in it."""
    return {**study.model_dump(mode="json"), "space": dict(space.spec.raw)}


def no_study(name: str, names: Sequence[str]) -> ConfigError:
    """names: of those that there are."""
    known = ", ".join(names) or "none"
    return ConfigError(f"no study {name!r}{meant(name, names)} in the database; it has: {known}")


def protocol_of(store: Store, digest: str) -> Protocol:
    """The protocol of a run. Raises ConfigError as `parse_protocol` does."""
    text = store.protocol_json(digest)
    assert text is not None, "a run's protocol is put before the run"
    return parse_protocol(digest, text)


def parse_protocol(digest: str, text: str) -> Protocol:
    """A protocol as the database has it. Raises ConfigError for one of another version of
    hybridnas: what a later one adds to protocols needs no other tables."""
    try:
        return Protocol.from_json(text)
    except ValidationError as error:
        what = explain(error, Protocol)
        raise ConfigError(f"protocol {digest}, of another version of hybridnas: {what}") from None


def read_study(source: str | Path | Mapping[str, Any], settings: Iterable[str] = ()) -> Study:
    """The study in a file, under a shipped name, or in a mapping, with `--set` overrides.

    A space or a latency table given as a file next to the study's is found from there. Raises
    ConfigError.
    """
    settings = list(settings)
    if isinstance(source, Mapping):
        return parse_study(override(dict(source), settings), "study")
    path = find("studies", source)
    raw = override(read_yaml(path), settings)
    for key, endings in (("space", (".yaml", ".yml")), ("latency", (".json",))):
        file = raw.get(key)
        if isinstance(file, str) and file.endswith(endings):
            beside = path.parent / file
            raw[key] = str(beside if beside.is_file() else Path(file))
    where = " ".join([told("studies", path), *(["with"] if settings else [])])
    return parse_study(raw, " ".join([where, *(f"--set {setting}" for setting in settings)]))
