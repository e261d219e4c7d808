"""Sets with masks that stay decoded: odd sizes, broken files, what a recipe asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from augment_helpers import seeded
from mask_sets import task, write_set
from numpy.typing import NDArray
from pair_helpers import by_torchvision, levels, stored
from PIL import Image

from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe
from hybridnas.data import masks
from hybridnas.data.mask_transforms import fitted_size
from hybridnas.data.pair_augment import PairAugment, PairPlan
from hybridnas.data.resident_training import ResidentBatches
from hybridnas.errors import DataError
from hybridnas.tasks.resident_data import resident_pairs

pytest_plugins = ["resident_helpers"]
pytestmark = pytest.mark.usefixtures("nothing_kept")

CPU = torch.device("cpu")
ODD = [(1, 1), (1, 60), (70, 1), (2, 150), (130, 3), (31, 47)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYBRIDNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(root: Path, **changes: Any) -> ResidentBatches[PairPlan]:
    """As on a GPU."""
    protocol = Protocol(
        task=task(root, max_corrupt=0.2),
        fidelity=Fidelity(epochs=1, resolution=changes.pop("resolution", 16)),
        recipe=Recipe(augmentation=Augmentation(hflip=changes.pop("hflip", 0.5))),
        **changes,
    )
    split = masks.open_split(protocol.task, "training")
    made = resident_pairs(split, protocol, 4, CPU)
    assert made is not None
    return made


def noise(label: str) -> list[tuple[Image.Image, NDArray[np.uint8]]]:
    """Of ODD sizes, with masks that are all ignored, all of the last class, or of any."""
    random, made = np.random.default_rng(0), []
    for height, width in ODD:
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        given = {"ignored": np.full(1, 255), "last": np.full(1, 254), "any": np.arange(256)}
        classes = random.choice(given[label], (height, width)).astype(np.uint8)
        made.append((Image.fromarray(pixels), classes))
    return made


@pytest.mark.parametrize("label", ["ignored", "last", "any"])
@pytest.mark.parametrize("side", [1, 5, 40])
def test_crops_of_odd_images_are_those_of_single_pairs(side: int, label: str) -> None:
    given, number = noise(label), len(ODD)
    batch = stored(given)
    augment = PairAugment(side, CPU, distort=False)
    plan = augment.draw(torch.tensor([ODD]), (batch.shape[2], batch.shape[3]), seeded(side))
    images, classes = augment.apply(batch, torch.zeros(number), plan)
    for i, found in enumerate(levels(images)):
        pixels, mask = by_torchvision(given[i], plan, i, side, 0.75)
        assert torch.equal(classes[i], mask)
        assert (found - pixels).abs().max() < 2.01


@pytest.mark.parametrize("side", [1, 24, 192])
def test_images_are_resized_as_single_ones(side: int) -> None:
    random = np.random.default_rng(0)
    sizes = [*ODD, *map(tuple, random.integers(1, 2000, (500, 2)).tolist())]
    augment = PairAugment(side, CPU, scale=(1.0, 1.0))
    plan = augment.draw(torch.tensor([sizes]), (2000, 2000), seeded())
    wanted = [fitted_size(height, width, side) for height, width in sizes]
    assert plan.sizes[0, :, :2].tolist() == [[*map(float, size)] for size in wanted]


def test_they_do_what_the_recipe_asks_for(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", training=12)
    (image, classes), *_ = kept(root, hflip=0.0)
    assert image.shape == (4, 3, 16, 16)
    assert classes.shape == (4, 16, 16)
    mirrored, _ = next(iter(kept(root, hflip=1.0)))
    assert not torch.equal(image, mirrored)
    # With all else alike, a crop that fills its image is the other's, mirrored.
    same = (image.flip(3) - mirrored).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert same.any()
    assert not torch.equal(next(iter(kept(root, hflip=0.0, seed=1)))[0], image)
    assert next(iter(kept(root, resolution=24)))[0].shape[2:] == (24, 24)


def test_a_mask_that_cannot_be_read_is_an_unreadable_picture(tmp_path: Path) -> None:
    """The next one stands in, its own mask with it."""
    root = write_set(tmp_path / "set", training=12)
    broken = root / "annotations" / "training" / "003.png"
    broken.write_bytes(broken.read_bytes()[:60])
    made = kept(root)
    assert list(made.unreadable) == [3]
    assert "003.png" in made.unreadable[3]
    assert len(list(made)) == 3


def test_wrong_data_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path) -> None:
    """Once they are mended, all is decoded."""
    root = write_set(tmp_path / "set", training=12)
    mask = root / "annotations" / "training" / "003.png"
    right = mask.read_bytes()
    Image.fromarray(np.full((32, 48), 9, np.uint8)).save(mask)
    with pytest.raises(DataError, match=r"003\.png: found label 9, allowed are 0 \(ignored\) to 3"):
        kept(root)
    assert not [path for path in cache.iterdir() if path.is_dir()]
    mask.write_bytes(right)
    assert not kept(root).unreadable
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    assert {path.name for path in folder.iterdir()} == {"pixels.npy", "index.json"}
