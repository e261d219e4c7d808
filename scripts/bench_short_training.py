"""Times short trainings: whole evaluations, the captured step alone, and a plain eager loop.

Three networks of widths 32-64-128-192 and depths 2-2-6-2, of MambaOut's, CAFormer's and VMamba's
kind, at 64 px. For each, in one process and after an evaluation that warms it up:

    evaluation      images/s of one evaluation: its training images by its whole time
    train           of its training alone, capture included
    captured step   of replaying its step alone, augmentation included
    eager           of the same training with steps that are not captured
    plain           of a plain float32 loop with timm's transforms (--plain; plain_training.py)

and its fixed costs in seconds. With --processes, candidates an hour of so many processes that share
the GPU. Without --data the images are noise, of the number and size of 20 classes of Tiny-ImageNet.

    python scripts/bench_short_training.py --data DIR --epochs 30 --json out.json
    python scripts/bench_short_training.py --data DIR --epochs 10 --processes 1 2 3 4 6
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import torch
from PIL import Image
from plain_training import plain

from hybridnas.architecture import Architecture
from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.data import data_digest, open_splits
from hybridnas.evaluate import Outcome, evaluate
from hybridnas.reference import reference
from hybridnas.tasks import TASKS
from hybridnas.train import Runner, Stepper

# Networks whose blocks, stem, downsampling and head are taken.
KINDS = {
    "MambaOut": "mambaout_femto",
    "CAFormer": "caformer_s18",
    "SSM": "vmamba_tiny_s1l8",
}
DEVICE = torch.device("cuda")
WIDTHS, DEPTHS = (32, 64, 128, 192), (2, 2, 6, 2)

AUGMENTATIONS = {
    "crop": Augmentation(scale=(0.35, 1.0), hflip=0.5),
    "rand": Augmentation(scale=(0.35, 1.0), hflip=0.5, auto_augment="rand-m9-mstd0.5-inc1"),
    "full": Augmentation(
        scale=(0.35, 1.0),
        hflip=0.5,
        auto_augment="rand-m9-mstd0.5-inc1",
        reprob=0.25,
        mixup=0.8,
        cutmix=1.0,
    ),
}


def network(kind: str) -> Architecture:
    raw = reference(KINDS[kind]).to_dict()
    raw["stages"] = [
        {"width": width, "blocks": [{**stage["blocks"][0], "repeat": depth}]}
        for width, depth, stage in zip(WIDTHS, DEPTHS, raw["stages"], strict=True)
    ]
    return Architecture.from_dict(raw)


def protocol(data: str, epochs: int, augmentation: str, *, batch: int, size: int) -> Protocol:
    task = Task(data=data)
    return Protocol(
        task=task,
        recipe=Recipe(
            batch_size=batch,
            lr=2e-3,
            warmup_epochs=2,
            augmentation=AUGMENTATIONS[augmentation],
        ),
        fidelity=Fidelity(epochs=epochs, resolution=size),
        data_digest=data_digest(*open_splits(task)),
    )


@contextmanager
def images(data: str | None, size: int) -> Iterator[str]:
    """The folder of the images: the one that is given, or one of noise."""
    if data is not None:
        yield data
        return
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="hybridnas-bench-") as folder:
        for split, number in (("train", 330), ("val", 120)):
            for label in range(20):
                place = Path(folder, split, f"{label:02}")
                place.mkdir(parents=True)
                for i in range(number):
                    pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(place / f"{i}.jpeg")
        yield folder


def step_rate(architecture: Architecture, told: Protocol, *, captured: bool, steps: int) -> float:
    """Images/s of steps alone, one after the other, once the first ones are over."""
    loaders = TASKS["classification"].loaders(told, DEVICE, 0)
    model = TASKS["classification"].network(architecture, loaders.num_classes, told).to(DEVICE)
    loss = TASKS["classification"].loss(told.recipe)
    per_epoch = len(loaders.train)
    stepper = Stepper(
        model, loss, told.recipe, DEVICE, num_steps=100 * per_epoch, steps_per_epoch=per_epoch
    )
    runner = Runner(stepper, loaders.train, captured=captured)
    model.train()
    for _ in runner.epoch(1):
        pass
    rates = []
    for epoch in range(2, 2 + max(1, steps // per_epoch)):
        iterator = runner.epoch(epoch)
        num_images = next(iterator)  # an epoch's first step waits for what is drawn
        torch.cuda.synchronize()
        started = time.perf_counter()
        num_images = sum(iterator)
        torch.cuda.synchronize()
        rates.append(num_images / (time.perf_counter() - started))
    return sorted(rates)[len(rates) // 2]


def trained_images(outcome: Outcome) -> float:
    return outcome.timing["train_images_per_second"] * outcome.timing["train_s"]


def row(kind: str, data: str, options: argparse.Namespace) -> dict[str, Any]:
    architecture = network(kind)

    def told(epochs: int) -> Protocol:
        return protocol(data, epochs, options.augment, batch=options.batch, size=options.size)

    evaluate(architecture, told(1))
    outcome = evaluate(architecture, told(options.epochs))
    if outcome.status != "ok":
        return {"kind": kind, "failed": outcome.message}
    timing = outcome.timing
    found = {
        "kind": kind,
        "augment": options.augment,
        "top1": outcome.metrics["top1"],
        "stepping": outcome.machine["stepping"],
        "data": outcome.machine["data"],
        "evaluation": trained_images(outcome) / timing["total_s"],
        "train": timing["train_images_per_second"],
        "captured step": step_rate(architecture, told(1), captured=True, steps=200),
        "eager": step_rate(architecture, told(1), captured=False, steps=100),
        **{name: value for name, value in timing.items() if name != "train_images_per_second"},
    }
    if options.plain:
        found["plain"] = plain(architecture, told(2), options.workers).images_per_second
    return found


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One of each kind."""
    found = []
    with images(options.data, options.size) as data:
        for kind in options.kinds:
            found.append(row(kind, data, options))
            print(found[-1], file=sys.stderr, flush=True)
    return found


COLUMNS = ("evaluation", "train", "captured step", "eager", "plain")
COSTS = ("data_s", "build_s", "check_s", "capture_s", "train_s", "score_s", "total_s")


def print_rows(found: list[dict[str, Any]]) -> None:
    print("images/s " + " ".join(f"{name:>14}" for name in (*COLUMNS, "busy share")))
    for one in found:
        cells = [f"{one[c]:14,.0f}" if c in one else " " * 14 for c in COLUMNS]
        print(f"{one['kind']:8}", *cells, f"{one.get('gpu_busy_share', 0):14.2f}")
    print("seconds  " + " ".join(f"{name:>9}" for name in COSTS))
    for one in found:
        print(f"{one['kind']:8}", *(f"{one.get(c, 0):9.2f}" for c in COSTS), one["stepping"])


# ---- several processes on one GPU


def _candidates(told: Protocol, seconds: float, together: Barrier, number: int) -> float:
    """Evaluates one kind after another for so long, when all are warm; evaluations a second."""
    torch.set_num_threads(1)
    kinds = list(KINDS)
    kinds = kinds[number % len(kinds) :] + kinds[: number % len(kinds)]
    short = told.model_copy(update={"fidelity": Fidelity(epochs=1, resolution=64)})
    try:
        for kind in kinds:
            evaluate(network(kind), short)
        together.wait()
    except BaseException:
        together.abort()
        raise
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        outcome = evaluate(network(kinds[count % len(kinds)]), told)
        assert outcome.status == "ok", outcome.message
        count += 1
    return count / (time.perf_counter() - started)


def candidates_an_hour(told: Protocol, processes: int, seconds: float) -> float:
    """Of so many processes together, each of them warm."""
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=spawn)
    with spawn.Manager() as manager, pool:
        together = manager.Barrier(processes)
        jobs = [
            pool.submit(_candidates, told, seconds, together, number) for number in range(processes)
        ]
        return 3600 * sum(job.result() for job in jobs)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--data", help="an ImageFolder with train/ and val/; default: noise")
    made.add_argument("--epochs", type=int, default=30)
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--size", type=int, default=64, help="of training crops, in pixels")
    made.add_argument("--augment", choices=AUGMENTATIONS, default="crop")
    made.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    made.add_argument("--plain", action="store_true", help="time the plain loop, too")
    made.add_argument("--workers", type=int, default=8, help="of the plain loop's loader")
    made.add_argument("--processes", type=int, nargs="+", help="how many share the GPU")
    made.add_argument("--seconds", type=float, default=20, help="of each number of processes")
    made.add_argument("--json", type=Path, help="a file for the figures")
    return made


def main() -> None:
    made = parser()
    options = made.parse_args()
    if not torch.cuda.is_available():
        made.error("there is no CUDA device, and only there are steps captured")
    name, batch = torch.cuda.get_device_name(), options.batch
    print(f"{name}, torch {torch.__version__}, batch {batch}, {options.size} px")
    found: list[dict[str, Any]] = []
    if options.processes:
        with images(options.data, options.size) as data:
            told = protocol(
                data, options.epochs, options.augment, batch=options.batch, size=options.size
            )
            for number in options.processes:
                rate = candidates_an_hour(told, number, options.seconds)
                print(f"{number} processes: {rate:,.0f} candidates an hour", flush=True)
                found.append({"processes": number, "candidates_an_hour": rate})
    else:
        found = rows(options)
        print_rows(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
