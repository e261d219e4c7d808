"""Shared by all tests."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    # Triton's kernels run in its interpreter, which it must know when it is first imported; timm
    # does that.
    os.environ.setdefault("TRITON_INTERPRET", "1")

from quick_interpreter import quicken

from hybridnas.store import Store


@pytest.hookimpl(trylast=True)  # after those that are not asked for have been taken out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no process has one before it when the others are done.

    Each test counts as a second, a slow one as a minute.
    """
    seconds: Counter[Path] = Counter()
    for item in items:
        seconds[item.path] += 60 if item.get_closest_marker("slow") else 1
    items.sort(key=lambda item: -seconds[item.path])  # tests of a file stay in their order


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """PyTorch on one core: tests run beside each other, and small tensors gain nothing by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _quick_interpreter() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if not torch.cuda.is_available() and importlib.util.find_spec("triton") is not None:
            quicken(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is decoded for a GPU is not left with the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRIDNAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def study_store(tmp_path: Path) -> Iterator[Store]:
    """A new SQLite database for the tests of a search."""
    with Store.open(f"sqlite:///{tmp_path / 'studies.db'}") as store:
        yield store
