"""Images that are listed and are not there, because a link to them leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from mask_sets import task, write_set
from PIL import Image

from hybridnas.config import Task
from hybridnas.data import data_digest, masks, open_splits
from hybridnas.errors import DataError
from hybridnas.tasks import TASKS


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of two images in each split, one of val's a link that leads nowhere."""
    for place in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (tmp_path / place).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / place / f"{number}.png")
    (tmp_path / "val/dog/2.png").symlink_to("nowhere.png")
    return tmp_path


def test_such_an_image_counts_as_one_that_cannot_be_read(pets: Path) -> None:
    wanted = Task(data=str(pets), max_corrupt=0.2)
    train, val = open_splits(wanted)
    assert (dict(train.missing), list(val.missing)) == ({}, [4])
    assert TASKS["classification"].splits(wanted)
    link = pets / "val/dog/2.png"
    why = rf"allowed are 0 .* among them {link} \(leads to nowhere\.png, which is not there\)"
    with pytest.raises(DataError, match=why):
        TASKS["classification"].splits(wanted.model_copy(update={"max_corrupt": 0.1}))
    with pytest.raises(FileNotFoundError):
        val.read(4)


def test_the_digest_tells_whether_it_is_there(pets: Path) -> None:
    def known() -> tuple[str, str]:
        train, val = open_splits(Task(data=str(pets)))
        return data_digest(train, val), val.fingerprint

    gone = known()
    assert gone == known()
    Image.new("RGB", (8, 8)).save(pets / "val/dog/nowhere.png")
    assert all(one != other for one, other in zip(gone, known(), strict=True))


def test_so_do_an_image_and_a_mask_of_pairs(tmp_path: Path) -> None:
    root = write_set(tmp_path / "shapes")
    image, mask = (
        root / f"{kind}/training/00{number}.png"
        for kind, number in (("images", 4), ("annotations", 1))
    )
    for path in (image, mask):
        path.unlink()
        path.symlink_to("nowhere.png")
    train, val = masks.open_splits(task(root))
    assert sorted(train.missing) == [1, 4]
    assert len(masks.data_digest(train, val)) == 12
    assert len(train.fingerprint) == 64
    assert TASKS["segmentation"].splits(task(root, max_corrupt=0.4))
    why = rf"2 or more of 6 .* among them .*001\.png \({mask}: leads to nowhere\.png, which is"
    with pytest.raises(DataError, match=why):
        TASKS["segmentation"].splits(task(root, max_corrupt=0.2))
