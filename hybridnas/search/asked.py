"""The study that a user asks for, and what can be refused of it before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import Study, parse_study
from ..errors import ConfigError, NoDatabaseError
from ..resources import find, shipped
from ..store import Store
from ..strict_yaml import override
from .early import check_early, check_lengths, check_stored
from .studies import read_study
from .view import StudyView


def asked_for(
    study: str | Path | Mapping[str, Any], storage: str, resume: bool, settings: list[str]
) -> Study:
    """`study_to_run`, once all was refused that can be at once."""
    wanted = study_to_run(study, storage, resume, settings)
    check_known(wanted, storage, resume)
    check_early(wanted)
    return wanted


def study_to_run(
    study: str | Path | Mapping[str, Any], storage: str, resume: bool, settings: list[str]
) -> Study:
    """The study to run: a file or a mapping as it is, a name as the database has it when resuming,
    else the shipped one."""
    if isinstance(study, Mapping):
        return read_study(study, settings)
    text = str(study)
    is_shipped = text in shipped("studies")
    if Path(text).is_file() or (is_shipped and not resume):
        return read_study(text, settings)
    if resume:
        try:
            with Store.open(storage, create=False) as store:
                config = store.study_config(text)
                if config is None and not is_shipped:
                    StudyView(text, store)  # says which studies there are
        except NoDatabaseError:
            if not is_shipped:
                raise
            config = None
        if config is not None:
            return parse_study(override(config, settings), f"study {text!r}")
    elif not is_shipped:
        try:
            find("studies", text)
        except ConfigError:
            if not _is_stored(text, storage):
                raise
            raise ConfigError(
                f"study {text!r} is in the database: `hybridnas search {text} --resume` goes on"
            ) from None
    return read_study(text, settings)


def _is_stored(name: str, storage: str) -> bool:
    try:
        with Store.open(storage, create=False) as store:
            return store.study_config(name) is not None
    except NoDatabaseError:
        return False


def check_known(study: Study, storage: str, resume: bool) -> None:
    """Raises ConfigError where the database has trials of the study, unless they are resumed, and
    by what is as it was; and of a new one as `check_lengths`."""
    try:
        with Store.open(storage, create=False) as store:
            check_stored(study, store, resume)
    except NoDatabaseError:
        check_lengths(study)  # there will be one
