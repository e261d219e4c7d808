"""Whether a task's data are there at all, which is asked before torch is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from .errors import ConfigError, DataError
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


# What a split of a task's data is known by; classification, which asks the least, is asked last.
_SIGNS: Mapping[str, str] = {
    "detection": "{0}, annotations/instances_{0}.json",
    "segmentation": "images/{0}, annotations/{0}",
    "classification": "{0}/CLASS",
}


def check_folder(task: str, root: Path) -> None:
    """Raises DataError where data of a task are to be a folder, and are none."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(f"task.data: {root} {what}; allowed is {_ALLOWED[task]}")


def check_data(task: str, data: str) -> None:
    """The same of any data; those of classification in other forms are left to their readers."""
    if task != "classification" or not _has_other_form(data):
        check_folder(task, expanded(data).absolute())


def split_names(task: str, data: str) -> tuple[str, ...] | None:
    """Of a task's data in a folder, by its layout; None where they are in another form, or are not
    to be read here."""
    try:
        if task == "classification" and _has_other_form(data):
            return None
        return tuple(_split_names(task, expanded(data)))
    except (ConfigError, OSError):
        return None


def _split_names(task: str, root: Path) -> list[str]:
    if task == "detection":
        files = sorted((root / "annotations").iterdir())
        named = [re.fullmatch(r"instances_(.+)\.json", path.name) for path in files]
        return [name for found in named if found and (root / (name := found[1])).is_dir()]
    if task == "segmentation":
        masks = root / "annotations"
        return [name for name in subfolders(root / "images") if (masks / name).is_dir()]
    return subfolders(root)


def of_another_task(task: str, root: Path) -> str:
    """Behind the refusal of a folder as a task's data: which other task's they look like; nothing
    where they look like its own, or like none."""
    for other, sign in _SIGNS.items():
        names = split_names(other, str(root)) or ()
        if other == "classification" != task:  # one folder of folders alone may be anything
            names = tuple(name for name in names if _holds_folders(root / name))
            names = names if len(names) > 1 else ()
        if names:
            looks = f"; it looks like data of {other} ({sign.format(names[0])}: task.name={other})"
            return "" if other == task else looks
    return ""


def _holds_folders(folder: Path) -> bool:
    try:
        return len(subfolders(folder)) > 1
    except OSError:
        return False


def subfolders(folder: Path) -> list[str]:
    """Their names in order, without hidden ones."""
    with os.scandir(folder) as entries:  # which knows kinds without asking for each file
        return sorted(e.name for e in entries if _is_folder(e) and not e.name.startswith("."))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, or where one may not look
        return False


def _has_other_form(data: str) -> bool:
    """Of classification: no folder of folders."""
    prefix, slash, _ = data.partition("/")
    if data == DIGITS or (slash and prefix.lower() in (WEBDATASET, HUGGING_FACE, TORCHVISION)):
        return True
    root = expanded(data).absolute()
    return root.is_file() and root.suffix == ".tar"
