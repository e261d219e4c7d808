"""Training views and batches of detection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from coco_helpers import draw
from PIL import Image
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from hybridnas.data.coco import CocoSplit, open_coco
from hybridnas.data.coco_loader import CocoLoader
from hybridnas.data.detection_views import TrainingView, longest_side
from hybridnas.errors import DataError
from hybridnas.processes import ALONE, Share

torch.set_num_threads(1)

CPU = torch.device("cpu")
# Python 3.12 and later warn of any fork of a process with threads, and torch has some.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def split(tmp_path: Path) -> CocoSplit:
    """Nine drawn pictures of 96 x 128, the last without objects."""
    draw(tmp_path, "train", 9)
    return open_coco(tmp_path, "train")


def loader(
    split: CocoSplit,
    view: TrainingView | None = None,
    *,
    batch_size: int = 2,
    seed: int = 0,
    max_corrupt: float = 0.0,
    workers: int = 0,
    share: Share = ALONE,
) -> CocoLoader:
    return CocoLoader(
        split,
        view,
        batch_size=batch_size,
        seed=seed,
        max_corrupt=max_corrupt,
        device=CPU,
        loader_workers=workers,
        share=share,
    )


def scored(split: CocoSplit, share: Share = ALONE) -> list[int]:
    batches = loader(split, share=share)
    return [int(one["index"]) for _, targets in batches for one in targets]


# ---- views


def test_training_resizes_as_the_detector_does(split: CocoSplit) -> None:
    image, target = split.read(0), split.target(0)
    seen, found = TrainingView(60, hflip=0.0)(image, target)
    whole = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255
    transform = GeneralizedRCNNTransform(60, longest_side(60), [0.0] * 3, [1.0] * 3)
    batch, (want,) = transform([whole], [dict(target)])
    height, width = batch.image_sizes[0]
    assert seen.shape == (3, height, width) == (3, 60, 80)
    assert (seen / 255 - batch.tensors[0, :, :height, :width]).abs().max() < 1.01 / 255  # bytes
    torch.testing.assert_close(found["boxes"], want["boxes"])
    assert torch.equal(found["masks"], want["masks"])


def test_the_longer_side_is_limited(split: CocoSplit) -> None:
    assert longest_side(800) == 1333
    seen, _ = TrainingView(96, longer=64)(split.read(0), split.target(0))
    assert seen.shape == (3, 48, 64)


def test_a_flip_takes_boxes_and_masks_along(split: CocoSplit) -> None:
    image, target = split.read(0), split.target(0)
    seen, found = TrainingView(96, hflip=1.0)(image, target)
    assert torch.equal(seen.flip(2), torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1))
    assert torch.equal(found["masks"].flip(2), target["masks"])
    assert torch.equal(
        found["boxes"][:, [2, 1, 0, 3]],
        target["boxes"] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([128, 0, 128, 0]),
    )


# ---- batches


def test_scoring_takes_whole_images_in_order(split: CocoSplit) -> None:
    batches = list(loader(split, batch_size=4))
    assert [len(images) for images, _ in batches] == [4, 4, 1]
    assert scored(split) == list(range(9))
    image = batches[1][0][2]
    want = torch.from_numpy(np.asarray(split.read(6)).copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(image, want)


def test_training_takes_each_image_with_objects_once(split: CocoSplit) -> None:
    train = loader(split, TrainingView(96, hflip=0.0), batch_size=3)
    assert len(train) == 2  # of 8 images
    first, second = ([image for images, _ in train for image in images] for _ in range(2))
    assert len({image.sum().item() for image in first}) == 6
    assert [i.sum() for i in first] != [i.sum() for i in second]
    for _, targets in train:
        assert all(len(target["boxes"]) > 0 for target in targets)


def test_batches_are_of_one_orientation(tmp_path: Path) -> None:
    draw(tmp_path, "train", 12)
    split = open_coco(tmp_path, "train")
    sizes = split.contents.sizes
    sizes[::2] = sizes[::2, ::-1].copy()  # planning looks at the JSON's sizes alone
    plans = list(loader(split, TrainingView(96), batch_size=2)._batches.sampler)
    upright = [{bool(place % 2) for place in plan.places} for plan in plans]
    assert len(plans) == 5
    assert sum(len(kinds) == 2 for kinds in upright) <= 1


@forks
def test_batches_depend_on_the_seed_only(split: CocoSplit) -> None:
    def one_pass(seed: int, workers: int) -> list[Tensor]:
        train = loader(split, TrainingView(64), seed=seed, workers=workers)
        return [value for images, targets in train for value in (*images, targets[0]["boxes"])]

    here = one_pass(0, 0)
    assert all(map(torch.equal, here, one_pass(0, 2)))
    assert any(
        a.shape != b.shape or not a.equal(b) for a, b in zip(here, one_pass(1, 0), strict=True)
    )


def test_processes_share_the_batches(split: CocoSplit) -> None:
    parts = [scored(split, Share(rank, 2)) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == list(range(9))
    trains = [
        [
            i.sum().item()
            for images, _ in loader(split, TrainingView(96, hflip=0), share=Share(r, 2))
            for i in images
        ]
        for r in range(2)
    ]
    assert [len(part) for part in trains] == [4, 4]
    assert not set(trains[0]) & set(trains[1])


# ---- images that cannot be read


@forks
@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_counted_once_and_skipped(split: CocoSplit, workers: int) -> None:
    Path(split.name(0)).write_text("a text")
    Path(split.name(3)).write_bytes(Path(split.name(3)).read_bytes()[:300])
    Image.new("RGB", (8, 8)).save(split.name(5))
    train = loader(split, TrainingView(48), max_corrupt=0.4, workers=workers)
    for _ in range(2):
        assert sum(len(images) for images, _ in train) == 8  # the next one came in its place
    assert sorted(train.unreadable) == [0, 3, 5]
    val = loader(split, max_corrupt=0.4, workers=workers)
    assert [int(one["index"]) for _, targets in val for one in targets] == [1, 2, 4, 6, 7, 8]
    assert val.unreadable[5] == "is 8 x 8, not 128 x 96"


def test_too_many_unreadable_images_are_an_error(split: CocoSplit) -> None:
    Path(split.name(0)).write_text("a text")
    for view in (TrainingView(48), None):
        with pytest.raises(
            DataError, match=r"1 or more of [89] images cannot be .* allowed are 0 "
        ):
            list(loader(split, view))


def test_missing_images_are_told_at_once(split: CocoSplit) -> None:
    Path(split.name(2)).unlink()
    opened = open_coco(Path(split.folder).parent, "train")
    with pytest.raises(DataError, match=r"1 or more of 9 .*allowed are 0 .*2\.png \(no such file"):
        loader(opened)
    assert loader(opened, max_corrupt=0.2).unreadable == {2: "no such file"}


def test_nothing_readable_is_an_error_whatever_is_allowed(split: CocoSplit) -> None:
    for path in Path(split.folder).iterdir():
        path.write_text("a text")
    with pytest.raises(DataError, match="9 or more of 9"):
        list(loader(split, max_corrupt=1.0))


def test_a_set_without_objects_trains_nothing(tmp_path: Path) -> None:
    draw(tmp_path, "train", 1)
    with pytest.raises(DataError, match="no image has an object to train on"):
        loader(open_coco(tmp_path, "train"), TrainingView(96))


def test_any_epoch_is_begun_at_any_batch(split: CocoSplit) -> None:
    train, other = (loader(split, TrainingView(96), seed=3) for _ in range(2))
    passes = [[images[0] for images, _ in train] for _ in range(2)]
    for epoch, first in ((2, 1), (1, 0), (2, 0)):
        found = [images[0] for images, _ in other.epoch(epoch, first)]
        assert len(found) == 4 - first
        assert all(map(torch.equal, found, passes[epoch - 1][first:]))


def test_a_sample_is_from_all_over_the_split_and_begins_no_pass(split: CocoSplit) -> None:
    training, fresh = (loader(split, TrainingView(96), seed=3) for _ in range(2))
    random = torch.get_rng_state()
    few = training.sample(3)
    assert few is not None
    images, targets = few
    boxes = [split.target(index)["boxes"] for index in (0, 2, 4)]  # of the eight with objects
    for image, target, want in zip(images, targets, boxes, strict=True):
        assert image.shape == (3, 96, 128)
        assert torch.equal(target["boxes"].sort(0).values[:, 1], want.sort(0).values[:, 1])
    assert torch.equal(torch.get_rng_state(), random)
    first, same = next(iter(training)), next(iter(fresh))
    assert all(torch.equal(x, y) for x, y in zip(first[0], same[0], strict=True))
