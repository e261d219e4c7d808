"""Weights to and from the study's artifacts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
import torch
from torch import Tensor

from hybridnas.errors import DataError
from hybridnas.search import weight_files, weights


@pytest.fixture(params=["folder", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder that is not there yet, on disk and at an fsspec URL."""
    if request.param == "folder":
        yield str(tmp_path / "deep" / "study")
        return
    url = f"memory://{uuid4().hex}/study"
    yield url
    fsspec.filesystem("memory").rm(url.rpartition("/")[0], recursive=True)


def state_dict() -> dict[str, Tensor]:
    values = torch.arange(12, dtype=torch.float32)
    return {
        "a.weight": values.view(3, 4).t(),  # not contiguous
        "b": torch.tensor(3),
        "half": values[:5].to(torch.bfloat16),
    }


def files(folder: str) -> dict[str, bytes]:
    filesystem, inner = fsspec.core.url_to_fs(folder)
    listed = filesystem.ls(inner, detail=False)
    return {path.rpartition("/")[2]: filesystem.cat_file(path) for path in listed}


def put(path: str, data: bytes) -> None:
    with fsspec.open(path, "wb") as file:
        file.write(data)


def test_there_and_back(artifacts: str) -> None:
    kept = weights.save(state_dict(), artifacts, "one")
    weights.save({"c": torch.ones(2)}, artifacts + "/", "two")
    assert kept["path"] == f"{artifacts}/one.safetensors"
    found = files(artifacts)
    assert found.keys() == {"one.safetensors", "two.safetensors"}, "and no half files"
    assert kept["sha256"] == hashlib.sha256(found["one.safetensors"]).hexdigest()
    loaded, want = weights.load(kept), state_dict()
    assert loaded.keys() == want.keys()
    assert all(torch.equal(loaded[key], want[key]) for key in want)
    assert all(loaded[key].dtype == want[key].dtype for key in want)


def test_removal(artifacts: str) -> None:
    kept = weights.save(state_dict(), artifacts, "one")
    weights.save(state_dict(), artifacts, "two")
    weight_files.remove(kept)
    weight_files.remove(kept)
    assert files(artifacts).keys() == {"two.safetensors"}
    with pytest.raises(DataError, match=r"weights .*one.safetensors cannot be read"):
        weights.load(kept)


def test_saving_again_replaces(artifacts: str) -> None:
    weights.save(state_dict(), artifacts, "one")
    kept = weights.save({"c": torch.ones(2)}, artifacts, "one")
    assert weights.load(kept).keys() == {"c"}


def test_changed_bytes_are_refused(artifacts: str) -> None:
    kept = weights.save(state_dict(), artifacts, "one")
    data = bytearray(files(artifacts)["one.safetensors"])
    data[-1] ^= 1
    put(kept["path"], bytes(data))
    with pytest.raises(DataError, match=r"one.safetensors have changed .*sha256 differs"):
        weights.load(kept)


def test_something_else_than_safetensors_is_refused(artifacts: str) -> None:
    data = b"PK, a pickle perhaps"
    path = weights.save(state_dict(), artifacts, "one")["path"]
    put(path, data)
    with pytest.raises(DataError, match=r"one.safetensors are no safetensors file"):
        weights.load({"path": path, "sha256": hashlib.sha256(data).hexdigest()})


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (str(tmp_path / "file"), "no-such-protocol://bucket"):
        with pytest.raises(DataError, match=r"weights cannot be written to .*one.safetensors"):
            weights.save(state_dict(), folder, "one")


def test_folders_become_absolute_and_urls_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert weight_files.absolute("artifacts") == str(tmp_path / "artifacts")
    assert weight_files.absolute("~/artifacts") == "/home/somebody/artifacts"
    assert weight_files.absolute("/elsewhere/") == "/elsewhere"
    assert weight_files.absolute("s3://bucket/x") == "s3://bucket/x"
