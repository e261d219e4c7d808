"""Training augmentation of images with their masks, a whole batch on its device.

What mask_transforms.training_pair does to one pair after another: resized by a random factor, one
of ten crops, flipped, distorted in tone, padded. Masks come out the same to the pixel, for equal
draws; of the images some values differ by one level, since Torch rounds a resize on the CPU through
fixed-point weights. `draw` and `apply` as in device_augment.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .augment.crop import filter_weights, resampled
from .augment.distortion import distorted, draw_tones
from .augment.plan import Drawn
from .loader import MEAN, STD
from .mask_transforms import CAT_MAX_RATIO, CROPS_TRIED, LONGEST, PADDING, SCALE
from .masks import IGNORED

# Bins of a count, so that neighbours in a mask, mostly of one class, seldom meet in one.
_BINS = 32
# Of masks, in which crops are tried: counting their classes takes 17 bytes each at its peak, eight
# of them the place of each count, and 32 KiB a crop; so 150 MB.
_PIXELS_AT_ONCE = 2**23


def stored_pair_side(side: int) -> int:
    """The longest axis that WholePair should keep for crops of `side` pixels.

    Twice the longest that a shorter axis is resized to: nothing is lost but of images more than
    twice as long as wide, and of those only where a crop enlarges.
    """
    return round(2 * SCALE[1] * side)


@dataclass(frozen=True, eq=False)
class PairPlan(Drawn):
    """Of S batches of B pairs.

    sizes: (S, B, 4): height and width of the resized image; of what is stored of it.
    corners: (S, B, 10, 2): top and left of the crops to try, in pixels of the resized image.
    flip: (S, B): whether mirrored.
    tones: (S, B, 6): distortion.draw_tones.
    """

    sizes: Tensor
    corners: Tensor
    flip: Tensor
    tones: Tensor


class _Grid(NamedTuple):
    """Where the pixels of n crops of each of B images come from.

    rows, columns: (B, n, side), centres in stored pixels. is_inside: (B, n, side, side), of the
    image, which ends before a crop does where it is smaller. classes: the same, IGNORED outside.
    """

    rows: Tensor
    columns: Tensor
    is_inside: Tensor
    classes: Tensor


class PairAugment:
    """Augments batches on one device (augment.plan.Augment).

    side: of the crops. hflip: share of mirrored ones. distort: in brightness and colour.
    """

    def __init__(
        self,
        side: int,
        device: torch.device,
        *,
        scale: tuple[float, float] = SCALE,
        cat_max_ratio: float = CAT_MAX_RATIO,
        hflip: float = 0.5,
        distort: bool = True,
    ) -> None:
        self._side = side
        self._device = device
        self._scale = scale
        self._cat_max_ratio = cat_max_ratio
        self._hflip = hflip
        self._distort = distort
        self._padding = torch.tensor(PADDING, device=device).float().view(1, 3, 1, 1)
        self._mean = 255 * torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
        self._std = 255 * torch.tensor(STD, device=device).view(1, 3, 1, 1)
        self._places = torch.arange(side, device=device) + 0.5

    @torch.no_grad()
    def draw(
        self, sizes: Tensor, stored: tuple[int, int], generator: torch.Generator | None = None
    ) -> PairPlan:
        """Augment.draw."""
        true, device = sizes.float(), self._device  # (S, B, 2)
        S, B, _ = sizes.shape

        def uniform(*shape: int) -> Tensor:
            return torch.rand((S, B, *shape), generator=generator, device=device)

        low, high = self._scale
        shorter = self._side * (low + (high - low) * uniform(1))
        shortest, longest = true.amin(dim=2, keepdim=True), true.amax(dim=2, keepdim=True)
        factor = torch.minimum(shorter / shortest, LONGEST * shorter / longest)
        resized = (true * factor).round().clamp(min=1)
        free = (resized - self._side).clamp(min=0)
        there = torch.cat(
            [true[..., :1].clamp(max=stored[0]), true[..., 1:].clamp(max=stored[1])], 2
        )
        tones = draw_tones(S * B, device, generator).unflatten(0, (S, B))
        return PairPlan(
            sizes=torch.cat([resized, there], dim=2),
            corners=(uniform(CROPS_TRIED, 2) * (free + 1).unsqueeze(2)).floor(),
            flip=(uniform() < self._hflip).float(),
            tones=tones,
        )

    @torch.no_grad()
    def apply(
        self,
        images: Tensor,
        labels: Tensor,
        plan: PairPlan,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Augment.apply; images: (B, 4, H, W), three channels and the classes (WholePair).

        Targets: classes (B, R, R) uint8, IGNORED where there is none or the image has ended.
        """
        del labels, generator
        height, width = images.shape[2:]
        masks, sizes = images[:, 3], plan.sizes[0]
        grid = self._grid(masks, self._corner(masks, plan), sizes, plan.flip[0])
        first, reduction = torch.zeros_like(sizes[:, 0]), sizes[:, 2:] / sizes[:, :2]
        with torch.autocast(images.device.type, enabled=False):
            rows = filter_weights(grid.rows[:, 0], reduction[:, 0], first, sizes[:, 2], height)
            columns = filter_weights(grid.columns[:, 0], reduction[:, 1], first, sizes[:, 3], width)
            pixels = resampled(images[:, :3], rows, columns)
            if self._distort:
                pixels = distorted(pixels, plan.tones[0])
            normal = (torch.where(grid.is_inside, pixels, self._padding) - self._mean) / self._std
        return normal.contiguous(memory_format=torch.channels_last), grid.classes[:, 0]

    def _corner(self, masks: Tensor, plan: PairPlan) -> Tensor:
        """Top and left (B, 1, 2) of the first crop that no class has too much of, else of the last.

        Some at once: of large crops all would take much memory, one by one takes many kernels.
        """
        corners = plan.corners[0]
        at_once = max(1, _PIXELS_AT_ONCE // (len(masks) * self._side**2))
        are_mixed = []
        for some in corners[:, :-1].split(at_once, dim=1):
            counts = _counts(self._grid(masks, some, plan.sizes[0]).classes)
            are_mixed.append(counts.amax(dim=2) < self._cat_max_ratio * counts.sum(dim=2))
        mixed = torch.cat([*are_mixed, torch.ones_like(are_mixed[0][:, :1])], dim=1)
        # The first one: argmax of equal values is not promised to be that.
        rank = torch.arange(CROPS_TRIED, 0, -1, device=masks.device)
        first = (mixed * rank).argmax(dim=1)
        return corners.gather(1, first.view(-1, 1, 1).expand(-1, 1, 2))

    def _grid(
        self, masks: Tensor, corners: Tensor, sizes: Tensor, flip: Tensor | None = None
    ) -> _Grid:
        """masks: (B, H, W). corners: (B, n, 2). sizes: (B, 4) of a plan. flip: (B,); None: none.

        An image that ends before the crop does is mirrored in itself.
        """
        size, end = sizes.view(-1, 1, 4, 1).split(2, dim=2)  # (B, 1, 2, 1)
        start = corners.unsqueeze(3)
        length = (size - start).clamp(max=self._side)
        place = self._places
        if flip is not None:
            is_mirrored = torch.stack([torch.zeros_like(flip), flip], dim=1).view(-1, 1, 2, 1) > 0
            place = torch.where(is_mirrored, length - place, place)
        centre = (start + place) * (end / size)  # (B, n, 2, side)
        y, x = torch.minimum(centre.floor(), end - 1).clamp(min=0).long().unbind(2)
        has_row, has_column = (self._places < length).unbind(2)
        is_inside = has_row.unsqueeze(3) & has_column.unsqueeze(2)
        places = y.unsqueeze(3) * masks.shape[2] + x.unsqueeze(2)
        nearest = masks.flatten(1).gather(1, places.flatten(1)).view_as(places)
        rows, columns = centre.unbind(2)
        return _Grid(rows, columns, is_inside, torch.where(is_inside, nearest, IGNORED))


def _counts(classes: Tensor) -> Tensor:
    """(B, n, 255): how many pixels of (B, n, side, side) each class has; ignored ones are left
    out."""
    flat = classes.flatten(2).int()
    spread = torch.arange(flat.shape[2], device=flat.device, dtype=torch.int32) % _BINS * 256
    counts = flat.new_zeros(*flat.shape[:2], _BINS * 256)
    counts.scatter_add_(2, (flat + spread).long(), torch.ones_like(flat))
    return counts.unflatten(2, (_BINS, 256)).sum(dim=2)[..., :IGNORED]
