"""Files of weights in a study's artifacts: a folder or any fsspec URL that all workers reach."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import fsspec

from ..user_paths import expanded


def absolute(artifacts: str) -> str:
    """A local folder as a full path, since workers run elsewhere; a URL as it is."""
    return artifacts if "://" in artifacts else os.path.abspath(expanded(artifacts))


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
