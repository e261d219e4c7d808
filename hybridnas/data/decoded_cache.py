"""Decoded pictures on disk, for the next process: a folder a set, mapped into memory.

    <cache>/<key>/pixels.npy    <cache>/<key>/index.json    <cache>/<key>.lock

A folder appears by one rename, complete or not at all. Who finds none takes the lock, so that
processes that start together decode once; a lock dies with its process.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..user_paths import expanded
from .decoding import Decoded

_log = logging.getLogger(__name__)

_PIXELS, _INDEX = "pixels.npy", "index.json"


def cache_folder() -> Path:
    """$HYBRIDNAS_CACHE, else hybridnas under the user's cache folder ($XDG_CACHE_HOME, ~/.cache).

    Whatever lies there can be deleted when no search runs.
    """
    if own := os.environ.get("HYBRIDNAS_CACHE"):
        return expanded(own)
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "hybridnas"


def cached(folder: Path, key: str, make: Callable[[], Decoded]) -> Decoded:
    """What lies under the key, mapped copy-on-write; if nothing sound does, `make` makes it.

    A cache that cannot be written (full, read-only) costs a warning: what was made is returned.
    """
    place = folder / key
    found = _open(place)
    if found is not None:
        return found
    made: Decoded | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{key}.lock"):
            found = _open(place)  # another process was faster
            if found is not None:
                return found
            made = make()
            _write(made, place)
            found = _open(place)
    except OSError as error:
        _log.warning("decoded images are not kept in %s: %s", folder, error)
    return found or made or make()


def _open(place: Path) -> Decoded | None:
    """None: it is not there, or not what was written."""
    if not place.exists():
        return None
    try:
        index = json.loads((place / _INDEX).read_text())
        pixels = np.load(place / _PIXELS, mmap_mode="c", allow_pickle=False)
        sizes = np.array(index["sizes"], dtype=np.int32)
        unreadable = {int(i): str(why) for i, why in index["unreadable"].items()}
        sound = (
            list(pixels.shape) == index["shape"]
            and pixels.dtype == np.uint8
            and sizes.shape == (len(pixels), 2)
            and (place / _PIXELS).stat().st_size == index["bytes"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("%s is broken and is made anew: %s", place, error)
        return None
    if not sound:
        _log.warning("%s is broken and is made anew: its sizes do not fit", place)
        return None
    return Decoded(pixels, sizes, unreadable)


def _write(decoded: Decoded, place: Path) -> None:
    """Under the lock. A plain write fails cleanly on a full disk, where a mapped one would kill."""
    shutil.rmtree(place, ignore_errors=True)  # broken; who has it mapped keeps it
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        np.save(scratch / _PIXELS, decoded.pixels)
        index = {
            "shape": decoded.pixels.shape,
            "bytes": (scratch / _PIXELS).stat().st_size,
            "sizes": decoded.sizes.tolist(),
            "unreadable": decoded.unreadable,
        }
        (scratch / _INDEX).write_text(json.dumps(index))
        scratch.rename(place)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
        yield
