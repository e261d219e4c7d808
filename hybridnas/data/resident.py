"""A split that stays decoded in memory: on the device where it fits, else on the host.

Rule: on a CUDA device if the bytes are at most a quarter of what is free there (candidates that
share a GPU each hold a copy); else on the host, if they are at most half of the memory that is
free there; else not at all, and the split streams through ImageLoader. So it does where most of the
bytes would be padding, because some of its pictures are much larger than the others. Splits of
earlier candidates stay while all together take at most a quarter of the device's memory, or half of
what is free on the host. On the host nothing is pinned but the batches in flight: processes then
share one mapped file, and a batch is gathered by the CPU anyway.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .batches import Placement
from .decoded_cache import cached
from .decoding import Decoded, Form, Pictures, Progress, decode
from .loader import Named, check_readable

_log = logging.getLogger(__name__)

_DEVICE_SHARE = 0.25
_HOST_SHARE = 0.5
# Heads of files read to guess what a split will take, before those of all are. A large picture
# among many may be missed: then it is found when all are read, before any is decoded.
_PROBES = 512
# Pictures that are kept each take as much as the largest: at most so many times their own bytes,
# or so many bytes in all.
_MOST_PADDED, _ALWAYS_KEPT = 4, 2**30
# A candidate's training and validation split always stay; two studies' worth if there is room.
_FEWEST_KEPT, _MOST_KEPT = 2, 4

_kept: OrderedDict[tuple[str, str], ResidentImages] = OrderedDict()
# By split_key: bytes of all pictures in one tensor, and of the pictures themselves, as far as is
# known; of which splits it was said that they stream. Every candidate of a search asks.
_needed: dict[str, tuple[int, float]] = {}
_said: set[tuple[str, str]] = set()
_lock = threading.Lock()


class Kept(Named, Pictures, Protocol):
    """A split that can stay decoded: data.Split, MaskSplit.

    fingerprint: of its files. labels: (N,) int64. in_memory: whether it is decoded already.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def labels(self) -> NDArray[np.int64]: ...

    @property
    def in_memory(self) -> bool: ...


class Batch(NamedTuple):
    """On the device: images (B, C, H, W) uint8, true sizes (B, 2) int32, labels (B,) int64."""

    images: Tensor
    sizes: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class ResidentImages:
    """A decoded split of N images.

    pixels: (N, C, H, W) uint8, of the form's channels.
    sizes: (N, 2) int32, of the pictures as they are on disk.
    labels: (N,) int64. All three in one place: on `device`, or on the host.
    unreadable: why, by index.
    stand_ins: (N,) int64 on the CPU: each image itself, or the next readable one in its place.
    where: the place of the split, for messages.
    """

    pixels: Tensor
    sizes: Tensor
    labels: Tensor
    unreadable: dict[int, str]
    stand_ins: Tensor
    device: torch.device
    where: str

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def on_device(self) -> bool:
        return self.pixels.device.type == self.device.type

    @property
    def readable(self) -> Tensor:
        """(M,) int64 on the CPU, rising: what is scored."""
        return (self.stand_ins == torch.arange(len(self))).nonzero().squeeze(1)

    def take(self, indices: Tensor) -> Batch:
        """A batch; indices (B,) int64 must lie where `pixels` lie.

        On the device this is three gathers, which a CUDA graph can hold. From the host it is a
        gather into pinned memory and a copy that does not wait.
        """
        parts = (self.pixels, self.sizes, self.labels)
        if self.on_device:
            return Batch(*(part.index_select(0, indices) for part in parts))
        taken = []
        for part in parts:
            staged = torch.empty((len(indices), *part.shape[1:]), dtype=part.dtype, pin_memory=True)
            torch.index_select(part, 0, indices, out=staged)
            taken.append(staged.to(self.device, non_blocking=True))
        return Batch(*taken)


def stored_side(resolution: int) -> int:
    """The longest axis that `Whole` should keep for training crops of `resolution` pixels.

    Twice the crop: one of a quarter of a picture's area or more then has a pixel or more for each
    of its own; a smaller one is enlarged. (Of 320 px photographs, crops of 0.35 ... 1 of the area
    to 64 px differ from those of the original by 1.1 levels in the mean; by 2.2 if the side is
    half as much again as the crop: scripts/bench_augment.py --difference.)
    """
    return 2 * resolution


def load_resident(
    split: Kept,
    form: Form,
    *,
    device: torch.device,
    max_corrupt: float,
    cache: Path | None = None,
    on_progress: Progress | None = None,
) -> ResidentImages | None:
    """The split in memory, decoded by this process at most once; None: it must stream.

    cache: a folder where decoded files lie for other processes. Raises DataError when more than
    the share `max_corrupt` of the images cannot be read, as ImageLoader does.
    """
    key = split_key(split, form)
    with _lock:  # a second thread that wants the same waits for it
        found = _kept.get((key, str(device)))
        if found is None:
            found = _load(split, form, key, device, max_corrupt, cache, on_progress)
            if found is None:
                return None
            _kept[key, str(device)] = found
        _kept.move_to_end((key, str(device)))
        _make_room(found.pixels.device)
    check_readable(split, found.unreadable, max_corrupt)
    return found


def forget() -> None:
    """Gives back what this process keeps, and what it knows of splits."""
    with _lock:
        for known in (_kept, _needed, _said):
            known.clear()


def split_key(split: Kept, form: Form) -> str:
    """24 hex digits of what is stored: the form, and which pictures."""
    content = f"{form.name} {split.fingerprint}"
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def placement(num_bytes: int, device: torch.device) -> Placement:
    """Where so many bytes go, by the rule above."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if num_bytes <= _DEVICE_SHARE * free:
            return "device"
    return "host" if num_bytes <= _HOST_SHARE * free_host_memory() else "stream"


def _make_room(place: torch.device) -> None:
    """Drops what was used longest ago, where there are too many splits or bytes in this place."""
    if place.type == "cuda":
        room = _DEVICE_SHARE * torch.cuda.mem_get_info(place)[1]
    else:
        room = _HOST_SHARE * free_host_memory()

    def taken() -> int:
        return sum(each.pixels.nbytes for each in _kept.values() if each.pixels.device == place)

    while len(_kept) > _FEWEST_KEPT and (len(_kept) > _MOST_KEPT or taken() > room):
        _kept.popitem(last=False)


def free_host_memory() -> int:
    """Bytes that can be had without swapping; in a container at most what it may take."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = [pages // 2]  # where the system does not say what is free
    meminfo, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        found = [int(lines["MemAvailable"].split()[0]) * 1024]
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        found.append(int(text))
    return min(found)


def _load(
    split: Kept,
    form: Form,
    key: str,
    device: torch.device,
    max_corrupt: float,
    cache: Path | None,
    on_progress: Progress | None,
) -> ResidentImages | None:
    def check_room(num_bytes: int, of_pictures: float) -> None:
        _needed[key] = num_bytes, of_pictures
        if why := _why_not(num_bytes, of_pictures, device):
            raise _Streams(f"takes {num_bytes / 1e9:.1f} GB decoded, {why}")

    def make() -> Decoded:
        def check(bad: dict[int, str]) -> None:
            check_readable(split, bad, max_corrupt)

        return decode(split, form, check, on_progress, check_room)

    try:
        check_room(*(_needed.get(key) or _expected_bytes(split, form)))
        decoded = make() if cache is None or split.in_memory else cached(cache, key, make)
    except _Streams as reason:
        if (key, str(device)) not in _said:
            _log.warning("%s %s: it streams instead", split.where, reason)
        _said.add((key, str(device)))
        return None
    pixels = torch.from_numpy(decoded.pixels)
    on_device = placement(pixels.nbytes, device) == "device"
    place = device if on_device else torch.device("cpu")
    return ResidentImages(
        pixels=pixels.to(place),
        sizes=torch.from_numpy(decoded.sizes).to(place),
        labels=torch.from_numpy(split.labels).to(place),
        unreadable=decoded.unreadable,
        stand_ins=_stand_ins(len(split), decoded.unreadable),
        device=device,
        where=split.where,
    )


class _Streams(Exception):
    """Why a split is not kept."""


def _why_not(num_bytes: int, of_pictures: float, device: torch.device) -> str:
    """Why a split is not to be kept; nothing where it is."""
    if placement(num_bytes, device) == "stream":
        return "more than fits in memory"
    if num_bytes > max(_ALWAYS_KEPT, _MOST_PADDED * of_pictures):
        return f"where the pictures themselves, which differ in size, take {of_pictures / 1e9:.1f}"
    return ""


def _expected_bytes(split: Kept, form: Form) -> tuple[int, float]:
    """Of all pictures in one tensor, and of the pictures themselves.

    From the heads of some spread over the split; those that cannot be read count not.
    """
    shapes = []
    for index in range(0, len(split), max(1, len(split) // _PROBES)):
        try:
            shapes.append(form.shape(*split.size(index)))
        except Exception:  # decoding tells which and why
            continue
    shapes = shapes or [(1, 1)]
    height, width = (max(axis) for axis in zip(*shapes, strict=True))
    mean = fmean(h * w for h, w in shapes)
    return len(split) * form.channels * height * width, len(split) * form.channels * mean


def _stand_ins(num: int, unreadable: dict[int, str]) -> Tensor:
    good = np.array([index for index in range(num) if index not in unreadable])
    following = np.searchsorted(good, np.arange(num)) % len(good)  # after the last comes the first
    return torch.from_numpy(good[following])
