"""Shared memory of a warp for Triton's interpreter, which has none: what the scan's backward asks
of it by PTX (ld.shared, st.shared, cp.async)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

NAN = 0x7FC00000
ASKED = [
    "reserved",
    "read",
    "read_two",
    "read_four",
    "write",
    "copy",
    "copy_some",
    "arrived",
    "anew",
]


class SharedMemory:
    """A copy comes as soon as it is begun (early) or not before somebody waits for it: what is
    right both ways does not depend on when it comes. What nobody wrote holds NaN."""

    def __init__(self, early: bool) -> None:
        self.early = early
        self.words = np.zeros(0, np.uint32)
        self.on_the_way: list[Callable[[], None]] = []

    def reserved(self, like: Any, BYTES: Any) -> int:
        self.words = np.full(int(BYTES) // 4, NAN, np.uint32)
        self.on_the_way.clear()
        return 0

    def read(self, place: Any, OFFSET: Any) -> Any:
        return _tensor(self.words[self._at(place, OFFSET, 1)].view(np.float32), place)

    def read_four(self, place: Any, OFFSET: Any) -> Any:
        at = self._at(place, OFFSET, 4)
        return tuple(_tensor(self.words[at + i].view(np.int32), place) for i in range(4))

    def read_two(self, place: Any, OFFSET: Any) -> Any:
        at = self._at(place, OFFSET, 2)
        return tuple(_tensor(self.words[at + i].view(np.int32), place) for i in range(2))

    def write(self, place: Any, value: Any, OFFSET: Any) -> None:
        self.words[self._at(place, OFFSET, 1)] = _data(value, place).view(np.uint32)

    def copy(self, place: Any, pointer: Any, is_there: Any, OFFSET: Any, WIDTH: Any = 4) -> None:
        self._copy(place, pointer, is_there, True, OFFSET, int(WIDTH) // 4)

    def copy_some(
        self, place: Any, pointer: Any, is_there: Any, is_wanted: Any, OFFSET: Any
    ) -> None:
        self._copy(place, pointer, is_there, is_wanted, OFFSET, 1)

    def _copy(
        self, place: Any, pointer: Any, is_there: Any, is_wanted: Any, offset: Any, count: int
    ) -> None:
        wanted = _data(is_wanted, place).astype(bool)
        addresses, there = (_data(x, place)[wanted] for x in (pointer, is_there))
        assert not (addresses[there.astype(bool)] % (4 * count)).any()
        at = self._at(place, offset, count)[wanted]
        found = [
            np.ctypeslib.as_array((ctypes.c_uint32 * count).from_address(int(address))).copy()
            if is_there
            else np.zeros(count, np.uint32)
            for address, is_there in zip(addresses, there, strict=True)
        ]

        def come() -> None:
            for first, words in zip(at, found, strict=True):
                self.words[first : first + count] = words

        self.on_the_way.append(come)
        if self.early:
            self.arrived(None)

    def arrived(self, like: Any) -> int:
        for come in self.on_the_way:
            come()
        self.on_the_way.clear()
        return 0

    def anew(self, like: Any) -> int:
        return 0

    def _at(self, place: Any, offset: Any, count: int) -> Any:
        """The first of so many words, which must be where such a read may begin."""
        found = _data(place, place) + int(offset)
        assert not (found % (4 * count)).any()
        assert (found >= 0).all()
        assert (found // 4 + count <= len(self.words)).all()
        return found // 4


def give_shared_memory(monkeypatch: pytest.MonkeyPatch, early: bool) -> None:
    """To the backward of hybridnas_kernels.selective_scan."""
    from hybridnas_kernels.selective_scan import triton_shared

    memory = SharedMemory(early)
    for name in ASKED:
        monkeypatch.setattr(triton_shared, name, getattr(memory, name))


def _data(x: Any, like: Any) -> Any:
    """The numbers of x, a tensor or one number for all, one for each of the tensor `like`."""
    x = x.handle.data if hasattr(x, "handle") else getattr(x, "value", x)
    return np.broadcast_to(x, like.handle.data.shape).reshape(-1)


def _tensor(found: Any, like: Any) -> Any:
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    kind = tl.float32 if found.dtype == np.float32 else tl.int32
    data = found.reshape(like.handle.data.shape)
    return tl.tensor(TensorHandle(data, kind), like.type.with_element_ty(kind))
