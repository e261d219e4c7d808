"""Samplers that others wrote: Optuna's, out of its hub, or anybody's, by import path."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeGuard

from optuna.samplers import BaseSampler

from ...errors import ConfigError, meant

HUB = "optunahub"


def imported_sampler(path: str, options: Mapping[str, Any], seed: int) -> BaseSampler:
    """The sampler at `package.module:Class`, `optunahub:NAME` or `optunahub:NAME:Class`.

    options: its constructor's; seed goes with them where that takes one and they do not say it.
    Raises ConfigError.
    """
    kind = _hub_class(path) if path.startswith(f"{HUB}:") else _class_at(path)
    parameters = inspect.signature(kind).parameters
    given = {"seed": seed, **options} if "seed" in parameters else dict(options)
    unknown = sorted(given.keys() - parameters.keys())
    if unknown and not any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
        raise ConfigError(
            f"sampler {path}: no option {', '.join(map(repr, unknown))}"
            f"{meant(unknown[0], parameters)}; allowed: {', '.join(parameters)}"
        )
    try:
        return kind(**given)
    except Exception as error:  # whatever its author raises is about the options
        raise ConfigError(f"sampler {path}: {type(error).__name__}: {error}") from None


def _class_at(path: str) -> type[BaseSampler]:
    name, _, attribute = path.partition(":")
    found = getattr(_module(name, path), attribute, None)
    if not _is_sampler(found):
        raise ConfigError(f"sampler {path}: {name} has no sampler of Optuna's kind {attribute!r}")
    return found


def _module(name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, ValueError) as error:  # ValueError: no name at all
        raise ConfigError(f"sampler {path}: {name!r} cannot be imported ({error})") from None


def _hub_class(path: str) -> type[BaseSampler]:
    _, name, *attribute = path.split(":")
    try:
        hub = importlib.import_module(HUB)
    except ImportError:
        raise ConfigError(f"sampler {path}: pip install {HUB}") from None
    try:
        package = hub.load_module(f"samplers/{name}")
    except Exception as error:  # it downloads: network, GitHub's limits, packages it lacks
        raise ConfigError(f"sampler {path}: {type(error).__name__}: {error}") from None
    public = getattr(package, "__all__", vars(package))
    known = {n: vars(package)[n] for n in public if _is_sampler(vars(package).get(n))}
    wanted = attribute or list(known)
    if len(wanted) != 1 or wanted[0] not in known:
        raise ConfigError(
            f"sampler {path}: samplers/{name} has {', '.join(known) or 'no sampler'}; allowed: "
            f"{HUB}:{name}:CLASS"
        )
    return known[wanted[0]]


def _is_sampler(found: object) -> TypeGuard[type[BaseSampler]]:
    return isinstance(found, type) and issubclass(found, BaseSampler)
