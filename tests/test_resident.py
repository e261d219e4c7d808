"""Splits that stay decoded: their bytes, their accounting, and where they go."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from resident_helpers import CPU, SIZES, load, split_of

from hybridnas.config import Task
from hybridnas.data import ResidentImages, ScoringBatches, decoding, open_split, resident
from hybridnas.data.decoding import Scored, Whole
from hybridnas.errors import DataError
from hybridnas.tasks.classification import score, validation_loader

pytest_plugins = ["resident_helpers"]
pytestmark = pytest.mark.usefixtures("nothing_kept")


def test_pictures_are_kept_as_they_are_or_shrunk_by_axis(two_classes: Path) -> None:
    images, split = load(two_classes), split_of(two_classes)
    assert images.pixels.shape == (10, 3, 48, 48)
    assert images.sizes.tolist() == [list(size) for size in SIZES * 2]
    assert images.labels.tolist() == [0] * 5 + [1] * 5
    for index, (height, width) in enumerate(SIZES * 2):
        picture = split.read(index)
        h, w = min(height, 48), min(width, 48)
        if (h, w) != (height, width):
            picture = picture.resize((w, h), Image.Resampling.BICUBIC)
        stored = images.pixels[index]
        assert np.array_equal(stored[:, :h, :w].permute(1, 2, 0), np.asarray(picture))
        assert stored[:, h:].sum() == 0
        assert stored[:, :, w:].sum() == 0


def test_equal_small_pictures_take_what_they_need(tmp_path: Path) -> None:
    train = resident.load_resident(
        open_split(Task(), "train"), Whole(96), device=CPU, max_corrupt=0.0
    )
    assert train is not None
    assert train.pixels.shape == (1000, 3, 32, 32)
    assert torch.equal(train.pixels[:, 0], torch.from_numpy(open_split(Task(), "train").sources))


def test_label_maps_keep_their_labels(tmp_path: Path) -> None:
    class Maps:
        def __len__(self) -> int:
            return 1

        def size(self, index: int) -> tuple[int, int]:
            return 30, 90

        def read(self, index: int) -> Image.Image:
            return Image.fromarray(np.tile(np.arange(90, dtype=np.uint8), (30, 1)))

    found = decoding.decode(Maps(), Whole(45, labels=True), lambda bad: None)
    assert found.pixels.shape == (1, 1, 30, 45)
    assert found.pixels[0, 0, 0].tolist() == list(range(1, 90, 2))


def test_scored_pictures_are_the_loaders_batches(two_classes: Path) -> None:
    task = Task(data=str(two_classes), val="train")
    loader = validation_loader(task, resolution=20, crop_pct=0.9, batch_size=4, device=CPU)
    ours = ScoringBatches(load(two_classes, Scored(20, 0.9)), batch_size=4)
    assert (len(ours), ours.batch_size) == (len(loader), loader.batch_size)
    for (images, labels), (wanted, wanted_labels) in zip(ours, loader, strict=True):
        assert torch.equal(images, wanted)
        assert torch.equal(labels, wanted_labels)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1200, 2))
    assert score(model, ours, CPU) == score(model, loader, CPU)


def test_a_batch_is_what_its_indices_say(two_classes: Path) -> None:
    images = load(two_classes)
    batch = images.take(torch.tensor([7, 0, 7]))
    assert torch.equal(batch.images, images.pixels[[7, 0, 7]])
    assert batch.sizes.tolist() == [[24, 60], [16, 16], [24, 60]]
    assert batch.labels.tolist() == [1, 0, 1]


# ---- pictures that cannot be read


def test_unreadable_pictures_are_counted_and_replaced(two_classes: Path) -> None:
    for name in ("cat/1.png", "dog/4.png"):
        (two_classes / "train" / name).write_text("a text")
    whole = (two_classes / "train" / "dog" / "3.png").read_bytes()
    (two_classes / "train" / "dog" / "3.png").write_bytes(whole[: len(whole) // 2])
    images = load(two_classes, allowed=0.3)
    assert sorted(images.unreadable) == [1, 8, 9]
    assert images.stand_ins.tolist() == [0, 2, 2, 3, 4, 5, 6, 7, 0, 0]
    assert images.readable.tolist() == [0, 2, 3, 4, 5, 6, 7]
    scored = ScoringBatches(load(two_classes, Scored(16), allowed=0.3), batch_size=4)
    assert sum(len(labels) for _, labels in scored) == 7
    message = r"train: 3 or more of 10 images cannot be read, allowed are 2 .*1\.png "
    with pytest.raises(DataError, match=message):
        load(two_classes, allowed=0.2)  # what is kept was allowed more


def test_too_many_unreadable_pictures_stop_the_decoding(two_classes: Path, tmp_path: Path) -> None:
    for place in two_classes.glob("train/*/*.png"):
        place.write_text("a text")
    with pytest.raises(DataError, match=r"train: 10 or more of 10 images cannot be read"):
        load(two_classes, allowed=1.0, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/pixels.npy"))


# ---- where they go


def test_what_does_not_fit_streams(
    two_classes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    needed = 10 * 3 * 48 * 48
    monkeypatch.setattr(resident, "free_host_memory", lambda: 2 * needed - 1)
    split = split_of(two_classes)
    with caplog.at_level(logging.WARNING):
        assert resident.load_resident(split, Whole(48), device=CPU, max_corrupt=0.0) is None
    assert "streams instead" in caplog.text
    monkeypatch.setattr(resident, "free_host_memory", lambda: 2 * needed)
    assert resident.load_resident(split, Whole(48), device=CPU, max_corrupt=0.0) is not None


def test_a_large_picture_that_no_probe_meets_is_found_before_any_is_decoded(
    two_classes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of ten every fifth is looked at first; the fourth is the largest."""
    monkeypatch.setattr(resident, "_PROBES", 2)
    expected, needed = 10 * 3 * 30 * 30, 10 * 3 * 100 * 80
    assert resident._expected_bytes(split_of(two_classes), Whole(200))[0] == 10 * 3 * 16 * 16

    def loaded() -> ResidentImages | None:
        split, cache = split_of(two_classes), tmp_path / "cache"
        return resident.load_resident(split, Whole(200), device=CPU, max_corrupt=0.0, cache=cache)

    monkeypatch.setattr(resident, "free_host_memory", lambda: 2 * expected)
    monkeypatch.setattr(decoding, "_bodies", None)  # nothing is decoded
    assert [loaded() for _ in range(3)] == [None] * 3
    assert caplog.text.count("more than fits in memory: it streams instead") == 1
    assert not list(tmp_path.glob("cache/*/*"))
    monkeypatch.undo()
    monkeypatch.setattr(resident, "free_host_memory", lambda: 2 * needed)
    kept = loaded()
    assert kept is not None
    assert kept.pixels.nbytes == needed


def test_what_streams_is_looked_at_once_in_a_process(
    two_classes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resident, "free_host_memory", lambda: 0)
    load_it = partial(resident.load_resident, form=Whole(48), device=CPU, max_corrupt=0.0)
    assert load_it(split_of(two_classes)) is None
    monkeypatch.setattr(resident, "_expected_bytes", None)
    assert load_it(split_of(two_classes)) is None
    assert caplog.text.count("it streams instead") == 1


@pytest.mark.usefixtures("nothing_kept")
def test_what_would_be_padding_streams(
    two_classes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One large picture among small ones, as in ADE20K. In a small set that does not matter."""

    def is_kept() -> bool:
        resident.forget()
        split = split_of(two_classes)
        return resident.load_resident(split, Whole(200), device=CPU, max_corrupt=0.0) is not None

    for place in two_classes.glob("train/*/*.png"):
        Image.new("RGB", (20, 20)).save(place)
    place = two_classes / "train" / "cat" / "0.png"
    Image.new("RGB", (49, 49)).save(place)
    assert is_kept()
    monkeypatch.setattr(resident, "_ALWAYS_KEPT", 0)
    assert not is_kept()  # 10 side^2 is more than 4 (9 x 400 + side^2)
    assert "where the pictures themselves, which differ in size, take" in caplog.text
    Image.new("RGB", (48, 48)).save(place)
    assert is_kept()


def test_placement_follows_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 8000))
    monkeypatch.setattr(resident, "free_host_memory", lambda: 10000)
    cuda = torch.device("cuda")
    assert [resident.placement(n, cuda) for n in (1000, 1001, 5000, 5001)] == [
        "device",
        "host",
        "host",
        "stream",
    ]
    assert resident.placement(1000, CPU) == "host"


def test_what_is_kept_is_bounded_by_its_bytes(
    two_classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [load(two_classes, Whole(side)) for side in (40, 41, 42)]
    assert load(two_classes, Whole(40)) is sets[0]
    assert load(two_classes, Whole(41)) is sets[1]
    assert load(two_classes, Whole(42)) is sets[2]
    room = 2 * (sets[0].pixels.nbytes + sets[1].pixels.nbytes)
    monkeypatch.setattr(resident, "free_host_memory", lambda: room)
    last = load(two_classes, Whole(43))  # of four, only the two of one candidate stay
    assert load(two_classes, Whole(43)) is last
    assert load(two_classes, Whole(42)) is sets[2]
    assert load(two_classes, Whole(41)) is not sets[1]


def test_progress_is_told(two_classes: Path) -> None:
    told: list[tuple[int, int]] = []
    decoding.decode(
        split_of(two_classes),
        Whole(8),
        lambda bad: None,
        lambda done, num: told.append((done, num)),
    )
    assert told[-1] == (10, 10)
