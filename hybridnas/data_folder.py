"""Whether a task's data are there, laid out as it wants them: asked before torch is imported.

A refusal says what there is in the place of what is missing, and a setting that would do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import ConfigError, DataError, meant
from .user_paths import expanded

# As `task.data`; a folder of that name is reached as ./digits.
DIGITS = "digits"
# What stands before the slash in timm's names of other forms.
WEBDATASET, HUGGING_FACE, TORCHVISION = "wds", "hfds", "torch"

_ALLOWED: Mapping[str, str] = {
    "classification": f"{DIGITS!r} or a folder that holds one folder a split, with one folder a "
    "class (--set task.data=DIR), or FILE.tar, wds/DIR, hfds/NAME, torch/NAME:DIR",
    "segmentation": "a folder with images/<split> and annotations/<split> (--set task.data=DIR)",
    "detection": "a folder in COCO's layout, <split> and annotations/instances_<split>.json (--set "
    "task.data=DIR)",
}

# What a split of a task's data is known by; classification, which asks the least, is asked last.
_PLACES: Mapping[str, tuple[str, ...]] = {
    "detection": ("{0}", "annotations/instances_{0}.json"),
    "segmentation": ("images/{0}", "annotations/{0}"),
    "classification": ("{0}",),
}
# How names of splits begin, and those that may stand for them, the likeliest first.
_ALIKE = {"train": ("train",), "val": ("val", "dev", "test"), "test": ("test",)}
# Folders of a split that are no classes.
_NO_CLASSES = {"images", "annotations", "labels", "masks"}


def check_folder(task: str, root: Path) -> None:
    """Raises DataError where data of a task are to be a folder, and are none."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(f"task.data: {root} {what}; allowed is {_ALLOWED[task]}")


def check_data(task: str, data: str, train: str, val: str) -> None:
    """The same of any data, and of two splits of them; those of classification in other forms are
    left to their readers."""
    if task == "classification" and _has_other_form(data):
        return
    root = expanded(data).absolute()
    for key, split in (("task.train", train), ("task.val", val)):
        if task != "classification" or not (root / f"{split}.tar").is_file():
            check_split(task, root, split, key)


def check_split(task: str, root: Path, split: str, key: str = "") -> None:
    """Raises DataError where a folder has no such split of a task's. key: of the setting that names
    the split, for a hint."""
    check_folder(task, root)
    if task == "detection":
        _check_coco(root, split, key)
        return
    for place in (root / place.format(split) for place in _PLACES[task]):
        if not place.is_dir():
            holder = place.parent if place.parent.is_dir() else root
            near, instead = _hints(task, root, split, key)
            raise DataError(
                f"task.data: {root} has no folder {place.relative_to(root)}{near}; {holder} holds "
                f"{held(holder)}{instead}"
            )


def _check_coco(root: Path, split: str, key: str) -> None:
    if ".json:" in split:  # FILE.json:FOLDER
        return
    file = f"annotations/instances_{split}.json"
    if not (root / file).is_file():
        names = _annotated(root)
        others = [] if names else [*root.glob("*.json"), *root.glob("*/*.json")]
        its = f"its splits are {some(names)}" if names else f"it holds {held(root)}"
        if names or others:
            files = sorted(str(path.relative_to(root)) for path in others)
            its += f"; files of other names{f' ({some(files)})' if files else ''} are given as "
            its += "FILE.json:FOLDER"
        near, instead = _hints("detection", root, split, key)
        raise DataError(f"task.data: {root} has no {file}{near}; {its}{instead}")
    if not (root / split).is_dir():
        inner = f"images/{split}"
        near = f" ({key}={file}:{inner}?)" if key and (root / inner).is_dir() else ""
        raise DataError(f"task.data: {root} has no folder {split} for the images of {file}{near}")


def _hints(task: str, root: Path, split: str, key: str) -> tuple[str, str]:
    """Of a split that is not there: which other may be meant; else, for the end of the line, what
    the folder may be, or what it should be."""
    if other := of_another_task(task, root):
        return "", other
    names = split_names(task, str(root)) or ()
    if task == "classification":
        names = (*names, *sorted(path.stem for path in root.glob("*.tar")))
    if near := near_split(split, names, key):
        return near, ""
    inner = [root / name for name in subfolders(root) if _has(task, root / name, split)]
    if len(inner) == 1:
        return "", f" (task.data={inner[0]}?)"
    if task == "classification":  # whose splits any folders may be
        names = tuple(name for name in names if any(near_split(own, [name]) for own in _ALIKE))
    return "", "" if names else f"; needed: {_sign(task, split)}"


def near_split(split: str, names: Iterable[str], key: str = "") -> str:
    """` (task.val=valid?)` behind a split that is not there, where one of the names may be meant;
    without a key ` (valid?)`."""
    names = list(names)
    starts = next((to for own, to in _ALIKE.items() if split.lower().startswith(own)), ())
    alike = [name for start in starts for name in names if name.lower().startswith(start)]
    near = f" ({alike[0]}?)" if alike else meant(split, names)
    return near.replace("(", f"({key}=", 1) if key else near


def held(folder: Path) -> str:
    """What is in a folder, for a message: its folders; where there are none, its files."""
    if folders := subfolders(folder):
        return some(folders)
    files = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return f"files alone: {some(files)}" if files else "nothing"


def some(names: list[str], most: int = 8) -> str:
    """A list for a message: its first few names, or `none`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"


def _has(task: str, root: Path, split: str) -> bool:
    return all((root / place.format(split)).exists() for place in _PLACES[task])


def _sign(task: str, split: str) -> str:
    """What a split is known by, in words."""
    places = ", ".join(place.format(split) for place in _PLACES[task])
    return f"{places}/CLASS" if task == "classification" else places


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
        return [name for name in _annotated(root) if (root / name).is_dir()]
    if task == "segmentation":
        masks = root / "annotations"
        return [name for name in subfolders(root / "images") if (masks / name).is_dir()]
    return subfolders(root)


def _annotated(root: Path) -> list[str]:
    """The splits that have a file of COCO's, by its name."""
    files = sorted((root / "annotations").glob("instances_*.json"))
    return [path.stem.removeprefix("instances_") for path in files]


def of_another_task(task: str, root: Path) -> str:
    """Behind the refusal of a folder as a task's data: which other task's they look like; nothing
    where they look like its own, or like none."""
    for other in _PLACES:
        names = split_names(other, str(root)) or ()
        if other == "classification" != task:  # a folder of folders alone may be anything
            names = tuple(n for n in names if near_split("train", [n]) and _holds_classes(root / n))
        if names:
            first = next((name for name in names if near_split("train", [name])), names[0])
            looks = f"; it looks like data of {other} ({_sign(other, first)}: task.name={other})"
            return "" if other == task else looks
    return ""


def _holds_classes(folder: Path) -> bool:
    try:
        classes = subfolders(folder)
    except OSError:
        return False
    return len(classes) > 1 and not _NO_CLASSES & set(classes)


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
