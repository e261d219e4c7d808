"""timm knows our models once both it and hybridnas are imported, in whichever order; until then
nobody waits for timm, and torch with it: most commands only read the database."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Sequence
from types import ModuleType


def register_models() -> None:
    """Registers our models with timm: now where it is imported, else as soon as it is."""
    if "timm" in sys.modules:
        from . import timm_entry  # noqa: F401 (registers them)
    else:
        sys.meta_path.insert(0, _AfterTimm())


class _AfterTimm(importlib.abc.MetaPathFinder):
    """Finds timm as others do, and has our models registered once it has been loaded.

    It asks all others and is asked by those that do the same: another of these (hybridnas imported
    again), or another package's.
    """

    def __init__(self) -> None:
        self._asking = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "timm" or getattr(self._asking, "others", False):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        self._asking.others = True
        try:
            spec = next((spec for spec in found if spec is not None), None)
        finally:
            self._asking.others = False
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module  # of a loader that was made for this import

            def load_and_register(module: ModuleType) -> None:
                load(module)
                from . import timm_entry  # noqa: F401 (registers them)

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec
