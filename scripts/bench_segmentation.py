"""Trains on a set of masks: our UPerNet through `evaluate`, beside timm's backbone with
segmentation-models-pytorch's UPerNet in a plain loop, with the same data, recipe and seeds.

Reports mIoU on the validation split and images a second of training. The plain loop reads and
augments with our functions for single pairs in torch's DataLoader, ours does the same on a GPU by
whole batches (pair_augment.py); smp's UPerNet has no auxiliary head.

    python scripts/bench_segmentation.py DIR --epochs 60 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from plain_training import rate
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import hybridnas
from hybridnas.config import Fidelity, Protocol, Recipe, Task
from hybridnas.data import MEAN, STD, masks
from hybridnas.data.mask_transforms import scoring_pair, training_pair
from hybridnas.evaluate import evaluate
from hybridnas.task_defaults import TASK_DEFAULTS


def ours(protocol: Protocol, options: argparse.Namespace) -> dict[str, Any]:
    outcome = evaluate(
        hybridnas.reference(options.ours),
        protocol,
        device=options.device,
        loader_workers=options.workers,
    )
    if outcome.status != "ok":
        raise SystemExit(f"{options.ours}: {outcome.message}")
    speed = outcome.timing["train_images_per_second"]
    return {
        "miou": outcome.metrics["miou"],
        "images_s": speed,
        "total_s": outcome.timing["total_s"],
    }


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """A split's images and classes, as a plain data set."""

    def __init__(self, split: masks.MaskSplit, transform: Any) -> None:
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels, classes = self.transform(*self.split.sample(index))
        mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
        return (pixels / 255 - mean) / std, classes.long()


def plain(protocol: Protocol, options: argparse.Namespace) -> dict[str, Any]:
    """The loop that everybody writes."""
    started = time.perf_counter()
    torch.manual_seed(protocol.seed)
    train, val = masks.open_splits(protocol.task)
    recipe, side, epochs = protocol.recipe, protocol.fidelity.resolution, protocol.fidelity.epochs
    batch_size = min(recipe.batch_size, len(train))
    loader = DataLoader(
        Pairs(train, training_pair(side, hflip=recipe.augmentation.hflip)),
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        pin_memory=options.device == "cuda",
    )
    model = smp.UPerNet(
        f"tu-{options.peer}",
        encoder_depth=5,
        encoder_weights=None,
        decoder_channels=options.head_width,
        classes=len(train.class_names),
    ).to(options.device, memory_format=torch.channels_last)
    groups = [
        {"params": [p for p in model.parameters() if (p.ndim > 1) == decays], "weight_decay": decay}
        for decays, decay in ((True, recipe.weight_decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
    steps, warmup = epochs * len(loader), round(recipe.warmup_epochs * len(loader))

    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate(step, warmup, steps, recipe.min_lr / recipe.lr)
    )
    speeds = []
    for _ in range(epochs):
        began = time.perf_counter()
        for images, classes in loader:
            images = images.to(options.device, non_blocking=True)
            classes = classes.to(options.device, non_blocking=True)
            with torch.autocast(options.device, torch.bfloat16, enabled=options.device == "cuda"):
                loss = F.cross_entropy(model(images), classes, ignore_index=masks.IGNORED)
            optimizer.zero_grad()
            loss.backward()
            if recipe.clip_grad is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
            optimizer.step()
            schedule.step()
        loss.item()  # waits for the GPU
        speeds.append(batch_size * len(loader) / (time.perf_counter() - began))
    miou = plain_miou(model.eval(), Pairs(val, scoring_pair(side)), options.device)
    seconds = time.perf_counter() - started
    return {"miou": miou, "images_s": sum(speeds) / len(speeds), "total_s": seconds}


@torch.inference_mode()
def plain_miou(model: nn.Module, pairs: Pairs, device: str) -> float:
    """The mean over classes of intersection over union, from its definition."""
    num = len(pairs.split.class_names)
    both, either = np.zeros(num), np.zeros(num)
    for image, classes in (pairs[index] for index in range(len(pairs))):
        height, width = image.shape[1:]
        # smp takes only sides that the network's stride divides.
        padded = F.pad(image[None], (0, -width % 32, 0, -height % 32)).to(device)
        logits = model(padded)[:, :, :height, :width]
        found = F.interpolate(logits, classes.shape, mode="bilinear").argmax(1)[0].cpu().numpy()
        truth = classes.numpy()
        counted = truth != masks.IGNORED
        for k in range(num):
            there, taken = (truth == k) & counted, (found == k) & counted
            both[k] += (there & taken).sum()
            either[k] += (there | taken).sum()
    return float(np.mean(both[either > 0] / either[either > 0]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DIR", help="laid out as ADE20K")
    parser.add_argument("--ours", default="mambaout_femto", help="a reference architecture")
    parser.add_argument("--peer", default="mambaout_femto", help="timm's model")
    parser.add_argument("--only", choices=["ours", "plain"], help="leave the other one out")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--resolution", type=int, default=192)
    parser.add_argument("--head-width", type=int, default=512, help="channels of UPerNet")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=8, help="processes that read images")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    recipe = {**TASK_DEFAULTS["segmentation"].recipe, **({"lr": options.lr} if options.lr else {})}
    task = {"name": "segmentation", "data": options.data, "head_width": options.head_width}
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:
        protocol = Protocol(
            task=Task.model_validate(task),
            recipe=Recipe.model_validate(recipe),
            fidelity=Fidelity(epochs=options.epochs, resolution=options.resolution),
            seed=seed,
        )
        for name, run in (("ours", ours), ("plain", plain)):
            if options.only in (None, name):
                row = {"seed": seed, **run(protocol, options)}
                found.setdefault(name, []).append(row)
                figures = ", ".join(f"{key} {value:.4g}" for key, value in row.items())
                print(f"{name}: {figures}", flush=True)
    for name, rows in found.items():
        mious = [100 * row["miou"] for row in rows]
        spread = np.std(mious, ddof=1) if len(mious) > 1 else float("nan")
        speed = np.mean([row["images_s"] for row in rows])
        print(f"{name}: mIoU {np.mean(mious):.2f} +- {spread:.2f}, {speed:.0f} images/s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
