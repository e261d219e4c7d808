"""Triton's interpreter without what it does again and again, for a third to a half of its time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest


def quicken(patch: pytest.MonkeyPatch) -> None:
    """As far as this release of Triton has the functions that are replaced."""
    import triton.language as tl
    from triton.runtime import interpreter

    for name, quick in (
        ("_patch_lang", lambda real: _patched_once(real, (tl, tl.core))),
        ("_get_np_dtype", _by_name),
    ):
        if hasattr(interpreter, name):
            patch.setattr(interpreter, name, quick(getattr(interpreter, name)))


def _patched_once(real: Callable[[Any], Any], languages: tuple[Any, ...]) -> Callable[[Any], Any]:
    """The interpreter's replacements of triton.language, put in by the kernel: not again by every
    function that it calls. (static_print is one of them.)"""

    def patch_lang(fn: Any) -> Any:
        used = [x for x in fn.__globals__.values() if inspect.ismodule(x) and x in languages]
        if all(language.static_print is print for language in used):
            return SimpleNamespace(restore=lambda: None)
        return real(fn)

    return patch_lang


def _by_name(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """NumPy's type for a scalar's or a block's: not by a table that is made for every look."""
    known: dict[str, Any] = {}

    def get_np_dtype(kind: Any) -> Any:
        name = kind.scalar.name
        if name not in known:
            known[name] = real(kind)
        return known[name]

    return get_np_dtype
