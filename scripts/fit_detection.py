"""Trains a detector from fresh weights until it fits the images that it is trained on, and scores
it on those: a check of the whole path from COCO's JSON to average precision, not of a recipe.

    python scripts/fit_detection.py DIR --epochs 80
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import hybridnas
from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.evaluate import evaluate
from hybridnas.task_defaults import TASK_DEFAULTS
from hybridnas.train import EpochRecord


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", metavar="DIR", help="laid out as COCO")
    parser.add_argument("--arch", default="mambaout_femto", help="a reference architecture")
    parser.add_argument(
        "--depth", type=int, default=1, help="blocks in a stage at most: Python bounds the speed"
    )
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--resolution", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--split", default="train2017")
    parser.add_argument("--workers", type=int, default=8, help="processes that read images")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    options = parser.parse_args()
    recipe = {**TASK_DEFAULTS["detection"].recipe, "batch_size": options.batch, "lr": options.lr}
    task = {"name": "detection", "data": options.data, "train": options.split, "val": options.split}
    protocol = Protocol(
        task=Task.model_validate(task),
        recipe=Recipe.model_validate({**recipe, "augmentation": Augmentation(hflip=0)}),
        fidelity=Fidelity(epochs=options.epochs, resolution=options.resolution),
    )
    started = time.perf_counter()

    def tell(record: EpochRecord) -> None:
        speed, seconds = record.images_per_second, time.perf_counter() - started
        line = (
            f"epoch {record.epoch}: loss {record.loss:.3f}, {speed:.0f} images/s, {seconds:.0f} s"
        )
        print(line, flush=True)

    arch = hybridnas.reference(options.arch)
    stages = [replace(stage, blocks=stage.blocks[: options.depth]) for stage in arch.stages]
    outcome = evaluate(
        replace(arch, stages=tuple(stages)),
        protocol,
        device=options.device,
        loader_workers=options.workers,
        on_epoch=tell,
    )
    if outcome.status != "ok":
        raise SystemExit(f"{options.arch}: {outcome.message}")
    found = {**outcome.metrics, **outcome.timing}
    print(", ".join(f"{name} {value:.4g}" for name, value in found.items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
