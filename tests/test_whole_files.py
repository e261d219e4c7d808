"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hybridnas.whole_files import write_whole


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "figures.csv"
    file.write_text("old")

    def write(part: Path) -> None:
        part.write_text("new")
        assert file.read_text() == "old"

    write_whole(file, write)
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_on_the_way_leaves_all_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "figures.csv"
    file.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half of")
        raise ValueError("no more figures")

    with pytest.raises(ValueError, match="no more figures"):
        write_whole(file, fail)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_who_may_read_it_is_for_the_user_to_say(tmp_path: Path) -> None:
    """Not for what writes it."""
    file = tmp_path / "best.safetensors"

    def write(part: Path) -> None:
        save_file({"weight": torch.zeros(1)}, part)
        assert part.stat().st_mode & 0o777 == 0o600

    write_whole(file, write)
    assert file.stat().st_mode & 0o777 == 0o640
    file.chmod(0o604)
    write_whole(file, write)
    assert file.stat().st_mode & 0o777 == 0o604
    write_whole(file, lambda part: part.write_text("text"))
    assert file.stat().st_mode & 0o777 == 0o604


@pytest.mark.usefixtures("umask")
def test_what_a_killed_process_of_the_same_number_left_says_nothing(tmp_path: Path) -> None:
    """In containers numbers come again."""
    file = tmp_path / "best.safetensors"
    (tmp_path / f".{file.name}.{os.getpid()}.part").touch(0o600)
    write_whole(file, lambda part: part.write_text("text"))
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_stays_one(tmp_path: Path) -> None:
    link, file = tmp_path / "link.csv", tmp_path / "disk" / "figures.csv"
    file.parent.mkdir()
    link.symlink_to(file)
    write_whole(link, lambda part: part.write_text("made"))
    write_whole(link, lambda part: part.write_text("replaced"))
    assert link.is_symlink()
    assert file.read_text() == "replaced"
    assert list(file.parent.iterdir()) == [file]


def test_errors_of_the_disk_are_passed_on(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(folder, lambda part: part.write_text("text"))
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "file", lambda part: part.write_text("text"))
    assert list(tmp_path.iterdir()) == [folder]
