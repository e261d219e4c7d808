"""Final accuracy of the engine's trainings against a plain float32 loop's, over several seeds.

Each trains every network from so many seeds (plain_training.py is the loop); printed are means, the
standard deviation over seeds, and the difference of the means with its standard error.

    python scripts/compare_training.py --data DIR --epochs 10 --seeds 5 --processes 4
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from bench_short_training import KINDS, network, protocol
from plain_training import plain

from hybridnas.config import Protocol
from hybridnas.evaluate import evaluate


def top1(job: tuple[str, str, int, Protocol, int]) -> float:
    loop, kind, seed, told, workers = job
    torch.set_num_threads(1)
    told = told.model_copy(update={"seed": seed})
    if loop == "plain":
        return plain(network(kind), told, workers).top1
    outcome = evaluate(network(kind), told)
    assert outcome.status == "ok", outcome.message
    return float(outcome.metrics["top1"])


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    told = protocol(options.data, options.epochs, "crop", batch=128, size=64)
    jobs = [
        (loop, kind, seed, told, options.workers)
        for loop, kind, seed in itertools.product(
            ("plain", "engine"), options.kinds, range(options.seeds)
        )
    ]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=spawn) as pool:
        answers = dict(zip((job[:3] for job in jobs), pool.map(top1, jobs), strict=True))
    rows = []
    for kind in options.kinds:
        found = {
            loop: [answers[loop, kind, seed] for seed in range(options.seeds)]
            for loop in ("plain", "engine")
        }
        spread = {loop: statistics.stdev(values) for loop, values in found.items()}
        gap = statistics.mean(found["engine"]) - statistics.mean(found["plain"])
        error = math.sqrt(sum(s**2 for s in spread.values()) / options.seeds)
        rows.append({"kind": kind, "difference": gap, "standard_error": error, **found})
        means = {loop: statistics.mean(values) for loop, values in found.items()}
        print(
            f"{kind:8} plain {means['plain']:.4f} (sd {spread['plain']:.4f}), engine "
            f"{means['engine']:.4f} (sd {spread['engine']:.4f}), difference {gap:+.4f} "
            f"+- {error:.4f}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="an ImageFolder of 20 classes")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--processes", type=int, default=4, help="trainings at once")
    parser.add_argument("--workers", type=int, default=2, help="loaders of each plain training")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    found = compare(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
