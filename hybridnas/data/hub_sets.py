"""Data sets of Hugging Face `datasets` and of torchvision, opened as timm opens them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from timm.data.dataset_factory import create_dataset

from ..config import Task
from ..environment import first_line
from ..errors import DataError
from ..user_paths import expanded
from .split import Split, size_of
from .stored import Stored


def open_hugging_face(name: str, split: str, task: Task) -> Split:
    """A data set with the columns `image` and `label`, from the hub or a local folder."""
    return _hugging_face(name, split)


def open_torchvision(rest: str, split: str, task: Task) -> Split:
    """NAME:DIR, one of those that timm knows; it must be in DIR already."""
    name, colon, folder = rest.partition(":")
    if not colon:
        raise DataError(f"task.data: torch/{rest} does not say where it lies: torch/NAME:DIR")
    return _torchvision(name, expanded(folder), split)


# Names, digest and loaders ask one after the other.
@lru_cache(maxsize=8)
def _hugging_face(name: str, split: str) -> Split:
    if importlib.util.find_spec("datasets") is None:
        raise DataError(
            f"task.data: hfds/{name} needs Hugging Face's datasets: "
            "pip install 'hybridnas[readers]'"
        )
    try:
        from timm.data.readers.reader_hfds import ReaderHfds  # it imports datasets

        # Not by create_reader, which changes the case of names before timm 1.0.31.
        reader: Any = ReaderHfds(name=name, split=split)
        labels = np.asarray(reader.dataset.with_format("numpy")["label"][:], np.int64)
    except Exception as error:  # of a network, a cache, a builder
        raise _unopened(f"hfds/{name}", split, error) from None
    names = sorted(reader.class_to_idx, key=reader.class_to_idx.__getitem__)
    names = names or [str(label) for label in range(int(labels.max()) + 1)]
    return Split(f"hfds/{name}:{split}", tuple(names), labels, _HuggingFaceImages(name, reader))


class _HuggingFaceImages(Stored):
    def __init__(self, name: str, reader: Any) -> None:
        self._name, self._reader = name, reader
        self._files = list(_files(reader.dataset))
        tables = [Path(table["filename"]) for table in reader.dataset.cache_files]
        self._changed = max((_time(table) for table in tables), default=0)

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.open(self._reader[index][0])

    def name(self, index: int) -> str:
        return f"hfds/{self._name}[{index}]"

    def identity(self, index: int) -> str:
        size, _ = self._files[index]
        return f"{index}:{size}"

    def changed(self, index: int) -> int:
        _, path = self._files[index]
        return self._changed if path is None else _time(path)


def _files(dataset: Any) -> Iterable[tuple[int, Path | None]]:
    """Bytes of each encoded image, which is in the table (None) or a file that it names."""
    import pyarrow.compute as pc

    column = dataset.select_columns(["image"]).with_format("arrow")[:]["image"]
    inside = pc.binary_length(pc.struct_field(column, "bytes")).to_pylist()
    for size, path in zip(inside, pc.struct_field(column, "path").to_pylist(), strict=True):
        yield (os.path.getsize(path), Path(path)) if size is None else (size, None)


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


@lru_cache(maxsize=8)
def _torchvision(name: str, folder: Path, split: str) -> Split:
    try:
        dataset: Any = create_dataset(f"torch/{name}", root=str(folder), split=split)
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        raise _unopened(f"torch/{name}:{folder}", split, error) from None
    if not hasattr(dataset, "targets"):
        raise DataError(f"task.data: torch/{name} does not list one class for each image")
    names = getattr(dataset, "wnids", None) or dataset.classes
    labels = np.asarray(dataset.targets, np.int64)
    where = f"torch/{name}:{folder}:{split}"
    return Split(where, tuple(map(str, names)), labels, _TorchvisionImages(where, dataset))


class _TorchvisionImages(Stored):
    def __init__(self, where: str, dataset: Any) -> None:
        self._where, self._dataset = where, dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Image.Image:
        image: Image.Image = self._dataset[index][0]
        return image

    def name(self, index: int) -> str:
        samples = getattr(self._dataset, "samples", None)
        return f"{self._where}[{index}]" if samples is None else str(samples[index][0])

    def identity(self, index: int) -> str:
        samples = getattr(self._dataset, "samples", None)
        if samples is not None:
            path = Path(samples[index][0])
            return f"{path.name}:{size_of(str(path))}"
        pixels = np.ascontiguousarray(self._dataset.data[index])
        return hashlib.sha256(pixels.tobytes()).hexdigest()[:12]

    def changed(self, index: int) -> int:
        samples = getattr(self._dataset, "samples", None)
        return 0 if samples is None else _time(Path(samples[index][0]))


def _unopened(data: str, split: str, error: Exception) -> DataError:
    return DataError(
        f"task.data: {data} has no split {split!r} that can be opened "
        f"({type(error).__name__}: {first_line(error):.200})"
    )
