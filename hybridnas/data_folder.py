"""Whether a task's data are there at all, which is asked before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .errors import DataError
from .user_paths import expanded

# As `task.data`; a folder of that name is reached as ./digits.
DIGITS = "digits"
# What stands before the slash in timm's names of other forms.
WEBDATASET, HUGGING_FACE, TORCHVISION = "wds", "hfds", "torch"

_ALLOWED: Mapping[str, str] = {
    "classification": f"{DIGITS!r} or a folder that holds one folder a split, with one folder a "
    "class (--set task.data=DIR), or FILE.tar, wds/DIR, hfds/NAME, torch/NAME:DIR",
    "segmentation": "a folder with images/<split> and annotations/<split>",
    "detection": "a folder in COCO's layout",
}


def check_folder(task: str, root: Path) -> None:
    """Raises DataError where data of a task are to be a folder, and are none."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(f"task.data: {root} {what}; allowed is {_ALLOWED[task]}")


def check_data(task: str, data: str) -> None:
    """The same of any data; those of classification in other forms are left to their readers."""
    prefix, slash, _ = data.partition("/")
    root = expanded(data).absolute()
    other = (
        data == DIGITS
        or (slash and prefix.lower() in (WEBDATASET, HUGGING_FACE, TORCHVISION))
        or (root.is_file() and root.suffix == ".tar")
    )
    if task != "classification" or not other:
        check_folder(task, root)
