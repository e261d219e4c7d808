"""Trained weights in the study's artifacts: a folder or any fsspec URL that all workers reach."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping

import fsspec
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

from ..errors import DataError


def absolute(artifacts: str) -> str:
    """A local folder as a full path, since workers run elsewhere; a URL as it is."""
    return artifacts if "://" in artifacts else os.path.abspath(os.path.expanduser(artifacts))


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


def remove(weights: Mapping[str, str]) -> None:
    """Deletes a weights file; one that is gone already is fine."""
    filesystem, inner = fsspec.core.url_to_fs(weights["path"])
    if filesystem.exists(inner):
        filesystem.rm(inner)


def remove_files(every: Iterable[Mapping[str, str]]) -> list[str]:
    """Deletes weights files; of those that cannot be deleted, path and why."""
    left = []
    for weights in every:
        try:
            remove(weights)
        except (OSError, ValueError, ImportError) as error:
            left.append(f"{weights['path']} stay: {error}")
    return left
