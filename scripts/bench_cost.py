"""Closed-form costs against fvcore's count of the built network, on one core, in one process.

    python scripts/bench_cost.py [--space hybrid] [--number 10000] [--counted 20]

Both are given architectures that nobody has counted. fvcore needs the built network and runs it,
so its time holds both.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import warnings

import torch

from hybridnas import SearchSpace, build, cost
from hybridnas.architecture import Architecture

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fvcore.nn import FlopCountAnalysis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="hybrid")
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--counted", type=int, default=20, help="how many fvcore counts")
    given = parser.parse_args()
    torch.set_num_threads(1)
    space, rng = SearchSpace.load(given.space), random.Random(0)
    drawn = {a.digest: a for a in (space.sample(rng) for _ in range(given.number))}
    # Read again from JSON, so that nothing is shared between them.
    fresh = [Architecture.from_json(a.to_json()) for a in drawn.values()]
    rates = []
    for part in range(5):
        some = fresh[part::5]
        start = time.perf_counter()
        for architecture in some:
            cost(architecture)
        rates.append(len(some) / (time.perf_counter() - start))
    ours = statistics.median(rates)
    theirs = statistics.median(_fvcore_seconds(a) for a in fresh[: given.counted])
    print(f"{len(fresh)} different architectures of {space.name!r} at 224 px, one core")
    print(
        f"closed form: {ours:,.0f} architectures/s (five parts: {min(rates):,.0f} to "
        f"{max(rates):,.0f})"
    )
    print(f"fvcore, network built: {1 / theirs:,.2f} architectures/s (median of {given.counted})")
    print(f"ratio: {ours * theirs:,.0f}")


def _fvcore_seconds(architecture: Architecture) -> float:
    start = time.perf_counter()
    net = build(architecture).eval()
    analysis = FlopCountAnalysis(net, torch.zeros(1, 3, 224, 224))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
