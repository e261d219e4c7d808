"""How a segmenting network sees an image, against loops over windows and versions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybridnas.errors import ConfigError
from hybridnas.tasks.inference import MULTI_SCALE, WHOLE, Inference, class_scores


class Local(nn.Module):
    """Logits that look at neighbours, not symmetric, so a window's border shows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


IMAGES = torch.randn(2, 3, 20, 33, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_whole_images_give_their_logits() -> None:
    model = Local()
    assert torch.equal(class_scores(model, IMAGES, (20, 33), WHOLE), model(IMAGES))
    want = F.interpolate(model(IMAGES), (40, 50), mode="bilinear")
    assert torch.equal(class_scores(model, IMAGES, (40, 50), WHOLE), want)


@torch.no_grad()
@pytest.mark.parametrize(
    ("window", "stride", "tops", "lefts"),
    [
        (12, 8, [0, 8], [0, 8, 16, 21]),
        (12, 12, [0, 8], [0, 12, 21]),
        (10, 10, [0, 10], [0, 10, 20, 23]),
        (24, 16, [0], [0, 9]),  # higher than the image
        (64, 40, [0], [0]),
    ],
)
def test_windows_are_averaged_where_they_overlap(
    window: int, stride: int, tops: list[int], lefts: list[int]
) -> None:
    model = Local()
    total, count = torch.zeros(2, 4, 20, 33), torch.zeros(20, 33)
    for top in tops:
        for left in lefts:
            place = slice(top, top + window), slice(left, left + window)
            total[:, :, place[0], place[1]] += model(IMAGES[:, :, place[0], place[1]])
            count[place] += 1
    assert count.min() > 0
    found = class_scores(model, IMAGES, (20, 33), Inference(window=window, stride=stride))
    torch.testing.assert_close(found, total / count)


@torch.no_grad()
def test_versions_are_averaged_as_shares() -> None:
    model = Local()
    shares = []
    for size in ((10, 16), (20, 33), (30, 50)):
        version = IMAGES
        if size != (20, 33):
            version = F.interpolate(IMAGES, size, mode="bilinear", antialias=True)
        for seen in (False, True):
            logits = model(version.flip(3) if seen else version)
            if size != (20, 33):
                logits = F.interpolate(logits, (20, 33), mode="bilinear")
            share = logits.softmax(1)
            shares.append(share.flip(3) if seen else share)
    found = class_scores(model, IMAGES, (20, 33), Inference(scales=(0.5, 1.0, 1.5), flip=True))
    torch.testing.assert_close(found, torch.stack(shares).mean(0))
    torch.testing.assert_close(found.sum(1), torch.ones(2, 20, 33))


def test_multi_scale_is_what_papers_report() -> None:
    assert MULTI_SCALE.scales == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert MULTI_SCALE.flip
    assert MULTI_SCALE.window is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"window": 512}, r"give window and stride, or none of them; got window 512 and stride"),
        ({"stride": 341}, r"got window None and stride 341"),
        ({"window": 64, "stride": 65}, r"stride must be 1 to window \(64\), got 65"),
        ({"window": 64, "stride": 0}, r"stride must be 1 to window \(64\), got 0"),
        ({"scales": ()}, r"scales must be above 0, got \(\)"),
        ({"scales": (1.0, 0.0)}, r"scales must be above 0, got \(1.0, 0.0\)"),
    ],
)
def test_impossible_inference_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Inference(**given)  # type: ignore[arg-type]
