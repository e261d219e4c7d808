"""What can go wrong, as one small tree.

HybridnasError                  somebody's input; the command line prints one line, exit code 2
├── ArchitectureError           an architecture that cannot be built, or its JSON/YAML is wrong
├── SpaceError                  an impossible search space, or an architecture outside of it
├── ConfigError                 a study's YAML, a budget, a resource, a command's argument
├── DataError                   a data set or weights, missing or broken (names the file)
├── StoreError                  a database that is locked, older, newer or unreachable
│   └── NoDatabaseError         there is none yet
└── ExportError                 a model that cannot be exported or loaded

A candidate that diverges, runs out of memory or fails is not an error but an outcome:
it is recorded with its reason and the search goes on (hybridnas.evaluate.Outcome).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def meant(text: str, names: Iterable[str]) -> str:
    """` (quickstart?)` behind a name that is none but is near one of these; else nothing."""
    # From 0.6 on, difflib's own limit, learning_rate would be near decay_rate.
    near = difflib.get_close_matches(text, list(names), n=1, cutoff=0.61)
    return f" ({near[0]}?)" if near else ""


def listed(names: Iterable[str], most: int = 5) -> str:
    """`cat, dog (2)`; the first few of many and how many there are: `0, 1, 2, ... (10)`."""
    every = list(names)
    return ", ".join([*every[:most], *(["..."] if len(every) > most else [])]) + f" ({len(every)})"


class HybridnasError(ValueError):
    """Bad input: says what was wrong, what came and what is allowed.

    told_by_first: the first of several processes has met the same and tells it.
    """

    told_by_first = False


class ArchitectureError(HybridnasError):
    """An architecture that cannot be built, or whose JSON/YAML is wrong."""


class SpaceError(HybridnasError):
    """An impossible search space, or an architecture outside of it."""


class ConfigError(HybridnasError):
    """A study's YAML, a budget, a resource or an argument that cannot be right."""


class DataError(HybridnasError):
    """A data set or a file of weights that is missing or broken."""


class StoreError(HybridnasError):
    """A database that is locked, of another version, or unreachable."""


class NoDatabaseError(StoreError):
    """No database where one is to be read, and nothing against making one there."""


class ExportError(HybridnasError):
    """A model that cannot be exported, or an export that cannot be loaded."""
