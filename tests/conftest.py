"""Shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    # Triton's kernels run in its interpreter, which it must know when it is first imported; timm
    # does that.
    os.environ.setdefault("TRITON_INTERPRET", "1")

from hybridnas.store import Store


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """PyTorch on one core: tests run beside each other, and small tensors gain nothing by more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
