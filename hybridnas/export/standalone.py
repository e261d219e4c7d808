"""An export as a package of its own: the modules that a network is made of travel with it."""

from __future__ import annotations

import importlib.util
import keyword
import shutil
from pathlib import Path

import timm

import hybridnas_kernels

from ..architecture import Architecture
from ..errors import ExportError
from .card import own_modules, template

_PACKAGE = Path(__file__).parent.parent
# What building a network from its architecture imports, and nothing more.
_MODULES = (
    "activations",
    "architecture",
    "counting",
    "errors",
    "network",
    "norms",
    "parts",
    "tracing",
    "windows",
)
_FOLDERS = ("layers", "mixers")


def check_standalone(architecture: Architecture, name: str) -> None:
    """Raises ExportError where an export of that name cannot stand alone."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ExportError(
            f"a stand-alone export is a Python package, so its folder's name must be an "
            f"identifier, got {name!r}"
        )
    if timm.is_model(name) or importlib.util.find_spec(name) is not None:
        raise ExportError(
            f"{name!r} is the name of a model of timm or of an installed module: give the folder "
            f"another one"
        )
    if modules := own_modules(architecture):
        raise ExportError(
            f"its mixers from {', '.join(modules)} cannot travel with a stand-alone export"
        )


def write_package(folder: Path) -> None:
    """Makes the folder of an export a package that needs torch and timm alone."""
    runtime = folder / "runtime"
    runtime.mkdir()
    (runtime / "__init__.py").write_text(
        '"""Copied from hybridnas (Apache-2.0): what the network is made of."""\n', encoding="utf-8"
    )
    for name in _MODULES:
        shutil.copy(_PACKAGE / f"{name}.py", runtime)
    python = shutil.ignore_patterns("__pycache__", "triton_*.py")
    for name in _FOLDERS:
        shutil.copytree(_PACKAGE / name, runtime / name, ignore=python)
    kernels = Path(hybridnas_kernels.__file__).parent
    shutil.copytree(kernels, runtime / "hybridnas_kernels", ignore=python)
    for path, source in (
        (runtime / "kernels.py", "standalone_kernels.py.txt"),
        (folder / "__init__.py", "standalone_init.py.txt"),
    ):
        path.write_text(template(source), encoding="utf-8")
