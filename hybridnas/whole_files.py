"""Files that are there as a whole or not at all, whenever the process that writes them ends."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Makes or replaces a file, that behind a link too: whoever reads it finds the old or the new.

    write: puts all of it under the path that it is given. Its errors are passed on, as are those
    of the disk (OSError); then the old file is as it was. Who may read the file: as before, or as
    the user's umask has it, whatever the writer thinks (safetensors: its owner alone).
    """
    path = Path(os.path.realpath(path))  # else a link to another disk would become a file here
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.unlink(missing_ok=True)  # of a process that was killed, with the mode of its writer
        part.touch()
        mode = _mode(path if path.exists() else part)
        write(part)
        if _mode(part) != mode:
            part.chmod(mode)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
