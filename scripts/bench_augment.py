"""Times the augmentation of batches alone: on the device, and by timm's transforms on one CPU core.

The device's figure is what `DeviceAugment.apply` takes on batches that lie there already: called
as it is, captured as a CUDA graph (on CUDA) and, with --compile, fused by torch.compile. Drawing is
timed apart: an epoch's numbers are drawn at once. Medians of the steps, in images a second.

    python scripts/bench_augment.py --size 64 --batch 128
    python scripts/bench_augment.py --difference FOLDER    # against Pillow, on pictures of a folder
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.functional as pillow
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import InterpolationMode

from hybridnas.config import Augmentation
from hybridnas.data.augment.crop import Windows, draw_boxes, resample, scale_boxes
from hybridnas.data.decoding import Whole
from hybridnas.data.device_augment import DeviceAugment
from hybridnas.data.resident import stored_side

_BATCHES_DRAWN = 16

RECIPES = {
    "crop, flip": Augmentation(),
    "+ jitter": Augmentation(color_jitter=0.4),
    "+ trivial": Augmentation(auto_augment="trivial"),
    "+ rand-m9": Augmentation(auto_augment="rand-m9-mstd0.5-inc1"),
    "+ rand-m9, erase, mix": Augmentation(
        auto_augment="rand-m9-mstd0.5-inc1", reprob=0.25, mixup=0.8, cutmix=1.0
    ),
}


def seconds(run: Callable[[], object], steps: int, device: torch.device) -> float:
    """Median of one call."""
    taken = []
    for _ in range(steps + 2):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


def captured(run: Callable[[], object]) -> Callable[[], object]:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def by_timm(recipe: Augmentation, images: Sequence[Image.Image], size: int) -> float:
    """Images a second of one core; erasing and mixing, which are done on the device, left out."""
    if recipe.auto_augment == "trivial":
        return math.nan  # timm has none
    transform = create_transform(
        size,
        is_training=True,
        scale=recipe.scale,
        color_jitter=recipe.color_jitter,  # type: ignore[arg-type]  # None: none
        auto_augment=recipe.auto_augment,
        interpolation="random",
        use_prefetcher=True,
    )
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < 1:
        for image in images:
            try:
                transform(image)
            except ValueError:  # Pillow 13 refuses to posterize to no bits
                continue
            done += 1
    return done / (time.perf_counter() - started)


def measure(recipe: Augmentation, options: argparse.Namespace, device: torch.device) -> list[float]:
    """Images a second of apply, of its graph, of it compiled, and of draw; NaN: not measured."""
    size, number = options.size, options.batch
    images = torch.randint(0, 256, (number, 3, size, size), dtype=torch.uint8, device=device)
    labels = torch.arange(number, device=device) % 10
    sizes = torch.full((_BATCHES_DRAWN, number, 2), size, device=device)
    augment = DeviceAugment(recipe, size, device, num_classes=10)
    plan = augment.draw(sizes, (size, size)).at(torch.zeros(1, dtype=torch.int64, device=device))
    on_gpu = device.type == "cuda"

    def rate(run: Callable[[], object], images_each: int = number) -> float:
        return images_each / seconds(run, options.steps, device)

    apply = partial(augment.apply, images, labels, plan)
    graph = rate(captured(apply)) if on_gpu else math.nan
    fused = math.nan
    if options.compile:
        run = partial(torch.compile(augment.apply, fullgraph=True), images, labels, plan)
        run()
        fused = rate(captured(run) if on_gpu else run)
    draw = rate(partial(augment.draw, sizes, (size, size)), _BATCHES_DRAWN * number)
    return [rate(apply), graph, fused, draw]


def speed(options: argparse.Namespace) -> None:
    device, size = torch.device(options.device), options.size
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, batch {options.batch}, {size} px, images/s")
    print(f"{'':24} {'apply':>10} {'graph':>10} {'compiled':>10} {'draw':>10} {'timm, 1 core':>13}")
    noise = np.random.default_rng(0).integers(0, 256, (32, size, size, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels) for pixels in noise]
    for label, recipe in RECIPES.items():
        cells = " ".join(f"{c:10,.0f}" for c in measure(recipe, options, device))
        print(f"{label:24} {cells} {by_timm(recipe, pictures, size):13,.0f}", flush=True)


def compare(
    file: Path, options: argparse.Namespace, cubic: bool, random: torch.Generator
) -> Tensor:
    """Absolute differences (3, R, R), in levels, of a random crop from Pillow's of the original."""
    image = Image.open(file).convert("RGB")
    pixels = torch.from_numpy(Whole(options.side)(image).copy()).unsqueeze(0)
    sizes = torch.tensor([[image.height, image.width]])
    box = draw_boxes(sizes, tuple(options.scale), (0.75, 4 / 3), random)
    stored = scale_boxes(box, sizes, (pixels.shape[2], pixels.shape[3]))
    top, left, height, width = stored.unbind(1)
    windows = Windows(top, left, height, width, torch.tensor([cubic]), torch.tensor([False]))
    ours = resample(pixels, windows, options.size)[0]
    mode = InterpolationMode.BICUBIC if cubic else InterpolationMode.BILINEAR
    place = box[0].int().tolist()
    crop = pillow.resized_crop(image, *place, [options.size, options.size], mode)
    return (ours - torch.from_numpy(np.array(crop)).permute(2, 0, 1)).abs()


def difference(options: argparse.Namespace) -> None:
    options.side = options.side or stored_side(options.size)
    found = [p for p in options.difference.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS]
    files = sorted(found)[: options.pictures]
    sides = [max(Image.open(file).size) for file in files]
    print(
        f"{len(files)} pictures, longest side {min(sides)} ... {max(sides)}; axes above "
        f"{options.side} px shrunk; crops of {options.scale[0]} ... {options.scale[1]} of the area "
        f"to {options.size} px; levels of 0 ... 255"
    )
    for cubic in (True, False):
        random = torch.Generator().manual_seed(0)
        gaps = [compare(file, options, cubic, random) for file in files]
        means = [float(gap.mean()) for gap in gaps]
        share = statistics.mean(float((gap > 1).float().mean()) for gap in gaps)
        print(
            f"{'bicubic' if cubic else 'bilinear':9} mean absolute difference "
            f"{statistics.mean(means):.4f}, of the worst picture {max(means):.4f}; "
            f"{share:.4%} of values more than one level off"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=64, help="of pictures and crops, in pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="time torch.compile, too")
    parser.add_argument("--difference", type=Path, metavar="FOLDER", help="compare with Pillow")
    parser.add_argument("--pictures", type=int, default=500, help="how many to compare")
    parser.add_argument("--side", type=int, help="what --difference shrinks axes to")
    parser.add_argument("--scale", type=float, nargs=2, default=(0.08, 1.0), help="of its crops")
    options = parser.parse_args()
    if options.difference:
        difference(options)
    else:
        speed(options)


if __name__ == "__main__":
    main()
