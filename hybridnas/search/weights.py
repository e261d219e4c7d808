"""Trained weights written to a study's artifacts, and read back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import fsspec
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from ..errors import DataError


def save(state_dict: Mapping[str, Tensor], folder: str, name: str) -> dict[str, str]:
    """Writes safetensors to folder/name and returns path and sha256, as the database keeps them.

    Raises DataError when the folder cannot be written.
    """
    data = to_bytes({key: value.contiguous() for key, value in state_dict.items()})
    path = f"{folder.rstrip('/')}/{name}.safetensors"
    try:
        filesystem, inner = fsspec.core.url_to_fs(path)
        filesystem.makedirs(filesystem._parent(inner), exist_ok=True)
        with filesystem.open(f"{inner}.part", "wb") as file:
            file.write(data)
        filesystem.mv(f"{inner}.part", inner)  # so that a kill leaves no half a file
    except (OSError, ValueError, ImportError) as error:  # no such folder, protocol, or package
        raise DataError(f"weights cannot be written to {path}: {error}") from None
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest()}


def load(weights: Mapping[str, str]) -> dict[str, Tensor]:
    """The weights that `save` wrote; DataError when they are gone or are not the same bytes."""
    path = weights["path"]
    try:
        with fsspec.open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise DataError(f"weights {path} cannot be read: {error}") from None
    if hashlib.sha256(data).hexdigest() != weights["sha256"]:
        raise DataError(f"weights {path} have changed since they were written (sha256 differs)")
    try:
        return from_bytes(data)
    except SafetensorError as error:
        raise DataError(f"weights {path} are no safetensors file: {error}") from None
