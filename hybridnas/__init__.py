"""Neural architecture search over hybrid token mixers for vision backbones.

Importing this registers the model `hybridnas` with timm, so that
`timm.create_model("local-dir:DIR")` loads what `hybridnas export` wrote.
"""

import importlib
from typing import TYPE_CHECKING

from .architecture import Architecture as Architecture
from .cost import Cost as Cost
from .cost import cost as cost
from .errors import HybridnasError as HybridnasError
from .provenance import VERSION
from .reference import reference as reference
from .search import load_study as load_study
from .search import search as search
from .space import SearchSpace as SearchSpace
from .timm_hook import register_models

__version__ = VERSION

if TYPE_CHECKING:
    from .loading import load_model as load_model
    from .timm_entry import build as build
else:
    # What makes networks is imported when it is first asked for: torch takes seconds.
    _MAKERS = {"build": "timm_entry", "load_model": "loading"}

    def __getattr__(name):
        if name not in _MAKERS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_MAKERS[name]}"), name)

    def __dir__():
        return sorted({*globals(), *_MAKERS})


register_models()
del VERSION, register_models
