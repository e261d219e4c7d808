"""Images in tar files, read in any order: a picture is a range of bytes of an archive.

Archives are scanned once, header by header, and no picture is decoded for it. Reading is by place
(pread), so that processes and threads that share an archive do not disturb each other. From a disk
that seeks slowly, files or a copy of the archive on a faster one are better.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..errors import DataError
from .stored import Stored

# Of open archives, in each process; ImageNet's training set is a thousand, as many as a process may
# commonly have open.
_MOST_OPEN = 64


class Archive(NamedTuple):
    """A tar file as it was when it was listed: its size in bytes, and its time in nanoseconds."""

    path: str
    size: int
    changed: int


class Member(NamedTuple):
    """A file in an archive. name: its path in there, after that of an archive within the archive.
    start, size: bytes."""

    archive: Archive
    name: str
    start: int
    size: int

    @property
    def folders(self) -> tuple[str, ...]:
        """Those that it lies in, outermost first, without the empty one."""
        return tuple(part for part in PurePosixPath(self.name).parent.parts if part != ".")

    def read(self) -> bytes:
        opened = _opened(self.archive)  # held, so that no other thread's eviction closes it
        found = os.pread(opened.descriptor, self.size, self.start)
        if len(found) != self.size:
            raise OSError(f"{self.archive.path} ends within {self.name}")
        return found


class TarImages(Stored):
    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.open(io.BytesIO(self._members[index].read()))

    def name(self, index: int) -> str:
        member = self._members[index]
        return f"{member.archive.path}:{member.name}"

    def identity(self, index: int) -> str:
        member = self._members[index]
        return f"{member.name}:{member.size}"

    def changed(self, index: int) -> int:
        return self._members[index].archive.changed


def images_in(archives: Sequence[Path]) -> list[Member]:
    """All pictures, in the order of their names. An archive's own name without `.tar` counts as a
    folder where there are several, and for archives within one, as ImageNet's training set has
    them. DataError for what is no archive."""
    found: list[Member] = []
    for path in archives:
        outer = path.stem if len(archives) > 1 else ""
        found += [member for member in members(path, outer) if is_image(member.name)]
    return sorted(found, key=lambda member: member.name)


def members(path: Path, outer: str = "") -> tuple[Member, ...]:
    """All files of an archive, archives within it opened too. outer: a folder before all names."""
    stat = _stat(path)
    return _scanned(Archive(str(path), stat.st_size, stat.st_mtime_ns), outer)


# Class names, digest and loaders ask one after the other.
@lru_cache(maxsize=4096)
def _scanned(archive: Archive, outer: str) -> tuple[Member, ...]:
    try:
        with tarfile.open(archive.path, "r:") as tar:  # compressed, it has no places to read from
            return tuple(_members(tar, archive, PurePosixPath(outer), 0))
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{archive.path} is no tar file that can be read ({error})") from None
    except OSError as error:
        raise DataError(f"{archive.path} cannot be read: {error.strerror or error}") from None


def _members(
    tar: tarfile.TarFile, archive: Archive, outer: PurePosixPath, start: int
) -> Iterator[Member]:
    for entry in tar:
        inner = PurePosixPath(entry.name)
        if not entry.isfile() or inner.name.startswith("."):
            continue  # hidden files are an operating system's notes
        place = start + entry.offset_data
        if inner.suffix == ".tar":
            with tarfile.open(fileobj=tar.extractfile(entry), mode="r:") as within:
                yield from _members(within, archive, outer / inner.with_suffix(""), place)
        else:
            yield Member(archive, str(outer / inner), place, entry.size)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMG_EXTENSIONS


class _Opened:
    """An open file, closed with the last use of it."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # it has none if it could not be opened
            os.close(self.descriptor)


@lru_cache(maxsize=_MOST_OPEN)
def _opened(archive: Archive) -> _Opened:
    """Known by size and time too: another archive may have taken the place of this one."""
    return _Opened(archive.path)
