"""Token mixers: one table of names; anybody's mixer by its import path."""

from __future__ import annotations

import importlib

from ..errors import ArchitectureError
from ..parts import lookup
from .attention import Attention
from .base import Mixer as Mixer
from .conv import Conv
from .gated_conv import GatedConv
from .ssm import SSM

MIXERS: dict[str, type[Mixer]] = {
    "gated_conv": GatedConv,
    "ssm": SSM,
    "attention": Attention,
    "conv": Conv,
}


def mixer_class(name: str, where: str) -> type[Mixer]:
    """The mixer of that name: one of MIXERS, or `module:Class` of somebody's own."""
    module_name, colon, class_name = name.partition(":")
    if not colon:
        return lookup(name, MIXERS, "mixer", where)
    if not module_name or module_name.startswith("."):
        raise ArchitectureError(f"{where}: mixer {name!r} must be module:Class, module in full")
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
    except Exception as error:  # whatever somebody's module does when it is imported
        what = f"{type(error).__name__}: {error}"
        raise ArchitectureError(
            f"{where}: mixer {name!r} cannot be imported ({what}); "
            f"run in the folder of its file, or put that on PYTHONPATH"
        ) from None
    if not isinstance(found, type) or not issubclass(found, Mixer):
        raise ArchitectureError(f"{where}: {name!r} is no subclass of hybridnas.mixers.Mixer")
    return found
