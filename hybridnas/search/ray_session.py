"""Ray, started here or joined, with our code on its workers."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

# Ray reads these when it is imported: no log files a trial, no tables on stdout, signals are ours.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray

from ..environment import first_line
from ..errors import ConfigError
from .cluster import LOCAL, address_of

_TOKEN = (
    " (does it ask for a token? then set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here as on its "
    "head)"
)


@contextmanager
def ray_session(address: str | None, own_modules: Iterable[str] = ()) -> Iterator[None]:
    """Ray, started here or joined at an address; left alone where it is running already.

    own_modules: names of the user's own modules that workers import. Raises ConfigError.
    """
    if ray.is_initialized():
        yield
        return
    address = address_of(address)
    options: dict[str, Any] = {
        "address": address,  # "local" joins nobody else's Ray that runs on this machine
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    # Workers import us, and a user's own mixer, from where the search was started.
    path = os.pathsep.join(dict.fromkeys((os.getcwd(), *filter(None, sys.path))))
    if address == LOCAL:
        options["include_dashboard"] = False
    else:
        options["runtime_env"] = _code_for(own_modules)
    try:
        with warnings.catch_warnings(), environment("PYTHONPATH", path):
            warnings.simplefilter("ignore", FutureWarning)
            ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        first = first_line(error) or type(error).__name__
        where = "" if address == LOCAL else f"at {address!r} "
        token = "" if address == LOCAL else _TOKEN
        raise ConfigError(f"Ray {where}cannot be reached or started: {first}{token}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _code_for(own_modules: Iterable[str]) -> dict[str, Any]:
    """The runtime environment of a cluster's workers, whose machines may not have this version of
    us, or none, and not the user's mixers.

    What else he put on PYTHONPATH, and the current folder, is looked for at the same place there.
    """
    import hybridnas
    import hybridnas_kernels

    path = os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))
    return {
        "py_modules": [hybridnas, hybridnas_kernels, *map(_module, own_modules)],
        "excludes": ["__pycache__"],
        "env_vars": {"PYTHONPATH": path},
    }


def _module(name: str) -> ModuleType:
    return sys.modules[name.partition(".")[0]]


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """A variable set for a while; the processes that are started meanwhile inherit it."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
