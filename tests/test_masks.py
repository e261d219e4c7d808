"""Sets in ADE20K's layout: what is listed, what is read, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mask_sets import CLASSES, real_set, task, write_set
from numpy.typing import NDArray
from PIL import Image

from hybridnas.data import ImageLoader, masks
from hybridnas.data.mask_transforms import scoring_pair
from hybridnas.errors import DataError

CPU = torch.device("cpu")
# Python 3.12 and later warn of any fork of a process with threads, and torch has some.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_set(tmp_path / "shapes")


def annotation(root: Path, number: int = 0, split: str = "training") -> Path:
    return root / "annotations" / split / f"{number:03}.png"


def loader(
    root: Path, max_corrupt: float = 0.0, batch_size: int = 4, workers: int = 0
) -> ImageLoader:
    """The training split in order, not augmented."""
    return ImageLoader(
        masks.open_split(task(root), "training"),
        scoring_pair(32),
        batch_size=batch_size,
        shuffle=False,
        seed=0,
        max_corrupt=max_corrupt,
        device=CPU,
        loader_workers=workers,
    )


# ---- splits and classes


def test_images_meet_their_annotations(root: Path) -> None:
    train, val = masks.open_splits(task(root))
    assert (len(train), len(val)) == (6, 4)
    assert train.class_names == val.class_names == CLASSES
    for index in range(len(train)):
        image, classes = train.sample(index)
        stored = np.asarray(Image.open(annotation(root, index))).astype(int)
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(train.name(index))))
        assert np.array_equal(classes, np.where(stored == 0, masks.IGNORED, stored - 1))
        assert set(np.unique(classes)) == {0, 1, 2, 255}


def test_opening_reads_no_image(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.write_text("")
    train, _ = masks.open_splits(task(root))
    assert len(train) == 6
    assert len(masks.data_digest(*masks.open_splits(task(root)))) == 12


def test_classes_of_ade20k_are_a_table(root: Path) -> None:
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tName\n1\t0.5\tearth, ground\n2\t0.3\tdisc \n3\t0.2\tbox\n"
    )
    assert masks.class_names(task(root)) == ("earth, ground", "disc", "box")


def test_a_set_without_names_is_read_for_its_labels(root: Path) -> None:
    (root / "classes.txt").unlink()
    assert masks.class_names(task(root)) == ("1", "2", "3")
    assert masks.open_split(task(root), "validation").class_names == ("1", "2", "3")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("objectInfo.txt", "Number\tName\n1\tsky\n", r"objectInfo.txt: its first line must name"),
        ("objectInfo.txt", "", r"objectInfo.txt: its first line must name the columns Idx and"),
        ("objectInfo.txt", "Idx\tName\n1\tsky\n3\tsea\n", r"row 2 must have 2 .* got 3 \| sea"),
        ("objectInfo.txt", "Idx\tName\n1\n", r"row 1 must have 2 columns and Idx 1, got 1$"),
        ("classes.txt", "ground\n", r"shapes: got 1 classes, allowed are 2 to 255"),
        ("classes.txt", "a class\n" * 256, r"got 256 classes, allowed are 2 to 255"),
    ],
)
def test_a_broken_list_of_classes_is_named(root: Path, name: str, text: str, message: str) -> None:
    (root / name).write_text(text)
    with pytest.raises(DataError, match=message):
        masks.open_splits(task(root))


def test_a_list_of_classes_is_text(root: Path) -> None:
    (root / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"classes\.txt cannot be read"):
        masks.class_names(task(root))


def _put_a_file_there(root: Path) -> None:
    shutil.rmtree(root)
    root.touch()


def _empty(root: Path) -> None:
    shutil.rmtree(root / "images" / "validation")
    (root / "images" / "validation").mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"shapes does not exist; allowed is a folder with images/<split>"),
        (_put_a_file_there, r"shapes is a file; allowed"),
        (
            lambda root: shutil.rmtree(root / "images" / "validation"),
            r"has no folder images/validation; .*images holds training$",
        ),
        (
            lambda root: shutil.rmtree(root / "annotations"),
            r"has no folder annotations/training; .*shapes holds images; needed: images/",
        ),
        (_empty, r"images/validation: no images in it; an image's name ends in one of \.jpg"),
        (
            lambda root: annotation(root, 2, "validation").unlink(),
            r"annotations/validation: 1 of 4 annotations are missing: 002\.png; it holds files",
        ),
    ],
)
def test_broken_folders_are_named(
    root: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(root)
    with pytest.raises(DataError, match=message):
        masks.open_splits(task(root))


def test_digest_follows_the_content_not_the_place(root: Path) -> None:
    before = masks.data_digest(*masks.open_splits(task(root)))
    moved = root.rename(root.with_name("moved"))
    assert masks.data_digest(*masks.open_splits(task(moved))) == before
    for kind in ("images", "annotations"):
        (moved / kind / "validation").rename(moved / kind / "held_out")
    assert masks.data_digest(*masks.open_splits(task(moved, val="held_out"))) == before
    assert masks.data_digest(*masks.open_splits(task(moved, val="training"))) != before
    Image.new("L", (480, 320), 1).save(annotation(moved))
    changed = masks.data_digest(*masks.open_splits(task(moved, val="held_out")))
    assert changed != before
    (moved / "classes.txt").write_text("a\nb\nc\n")
    assert masks.data_digest(*masks.open_splits(task(moved, val="held_out"))) != changed


# ---- annotations that are wrong


def _labels(array: NDArray[np.generic]) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(array).save(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _labels(np.ones((31, 48), np.uint8)),
            r"001\.png has 48 x 31 pixels, but its image .*images/training/001\.png has 48 x 32",
        ),
        (
            _labels(np.full((32, 48), 4, np.uint8)),
            r"001\.png: found label 4, allowed are 0 \(ignored\) to 3, the number of classes",
        ),
        (_labels(np.full((32, 48), 300, np.uint16)), r"001\.png: found label 300"),
        (
            _labels(np.ones((32, 48, 3), np.uint8)),
            r"001\.png: an annotation is one channel of whole numbers, got 32 x 48 x 3 of uint8",
        ),
        (_labels(np.ones((32, 48), bool)), r"got 32 x 48 of bool"),
    ],
)
def test_wrong_annotations_are_errors_however_many_may_be_corrupt(
    root: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(annotation(root, 1))
    with pytest.raises(DataError, match=message):
        [*loader(root, max_corrupt=1.0)]


@forks
def test_wrong_annotations_are_one_line_from_another_process_too(root: Path) -> None:
    _labels(np.full((32, 48), 4, np.uint8))(annotation(root, 1))
    with pytest.raises(DataError) as raised:
        [*loader(root, workers=1)]
    assert str(raised.value).startswith(f"{annotation(root, 1)}: found label 4")
    assert "\n" not in str(raised.value)


def test_sixteen_bits_and_palettes_are_labels_too(root: Path) -> None:
    split = masks.open_split(task(root), "training")
    want = split.sample(0)[1]
    stored = np.asarray(Image.open(annotation(root)))
    Image.fromarray(stored.astype(np.uint16)).save(annotation(root))
    assert np.array_equal(split.sample(0)[1], want)
    colourful = Image.fromarray(stored, "P")
    colourful.putpalette(bytes(range(256)) * 3)
    colourful.save(annotation(root))
    assert np.array_equal(split.sample(0)[1], want)


def test_unreadable_files_are_counted_and_skipped(root: Path) -> None:
    whole = annotation(root, 1).read_bytes()
    annotation(root, 1).write_bytes(whole[: len(whole) // 2])
    (root / "images" / "training" / "004.png").write_text("")
    found = loader(root, max_corrupt=0.4)
    assert sum(len(images) for images, _ in found) == 4
    assert sorted(found.unreadable) == [1, 4]
    with pytest.raises(DataError, match=r"2 or more of 6 .* allowed are 1 .*annotations.*001\.png"):
        [*loader(root, max_corrupt=0.2)]
    (root / "classes.txt").unlink()
    assert masks.class_names(task(root)) == ("1", "2", "3")


def test_grey_images_are_read_as_rgb(root: Path) -> None:
    path = root / "images" / "training" / "000.png"
    Image.open(path).convert("L").save(path)
    assert masks.open_split(task(root), "training").sample(0)[0].mode == "RGB"


# ---- batches


def test_equal_shapes_in_a_row_make_a_batch(root: Path) -> None:
    path = root / "images" / "training" / "003.png"
    Image.open(path).resize((64, 64)).save(path)
    Image.new("L", (64, 64), 1).save(annotation(root, 3))
    batches = [*loader(root, batch_size=6)]
    assert [images.shape for images, _ in batches] == [
        (3, 3, 32, 48),
        (1, 3, 32, 32),
        (2, 3, 32, 48),
    ]
    assert [classes.shape for _, classes in batches] == [(3, 32, 48), (1, 64, 64), (2, 32, 48)]
    images, classes = batches[0]
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert classes.dtype == torch.uint8
    pixels = np.asarray(Image.open(path.with_name("000.png"))) / 255
    want = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    torch.testing.assert_close(images[0], torch.from_numpy(want).permute(2, 0, 1).float())


# ---- real sets


def test_camvid_opens(tmp_path: Path) -> None:
    camvid = task(real_set("seg_camvid", tmp_path))
    splits = [masks.open_split(camvid, name) for name in ("training", "validation", "testing")]
    assert [len(split) for split in splits] == [316, 116, 171]
    assert masks.class_names(camvid)[:2] == ("sky", "building")
    assert len(masks.class_names(camvid)) == 11
    seen = np.zeros(256, np.int64)
    for index in range(len(splits[1])):
        image, classes = splits[1].sample(index)
        assert image.size == (256, 192)
        seen += np.bincount(classes.ravel(), minlength=256)
    assert (seen[:11] > 0).all()
    assert seen[11:255].sum() == 0
    assert 0 < seen[255] < 0.1 * seen.sum()


def test_ade20k_opens(tmp_path: Path) -> None:
    ade = task(real_set("fixture_ade20k3", tmp_path), train="validation")
    split = masks.open_split(ade, "validation")
    assert len(split) == 3
    assert len(split.class_names) == 150
    assert (split.class_names[0], split.class_names[7]) == ("wall", "bed")
    for index in range(3):
        image, classes = split.sample(index)
        stored = np.asarray(Image.open(split.annotations[index])).astype(int)
        assert image.size == classes.shape[::-1]
        assert np.array_equal(classes, np.where(stored == 0, 255, stored - 1))
