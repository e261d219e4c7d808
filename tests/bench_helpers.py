"""A table of results, made up: small, noisy, half of it allowed."""

from __future__ import annotations

import numpy as np

from hybridnas.config import Bound
from hybridnas.tables import Table, Trainings


def made_up_table(genes: int = 5, runs: int = 3) -> Table:
    """3^genes architectures: what costs more is better, with noise; half of them are allowed."""
    rows = np.array(list(np.ndindex(*[3] * genes)))
    weights = np.arange(1.0, genes + 1)
    macs = np.asarray(1e6 * (1 + rows @ weights), dtype=np.float64)
    truth = rows @ np.sqrt(weights)
    noise = np.random.default_rng(0).normal(0, 0.3, (len(rows), runs))
    return Table(
        "made_up",
        {f"g{i}": (0, 1, 2) for i in range(genes)},
        rows,
        {"macs": macs},
        [Trainings(1.0, truth[:, None] + noise)],
        "top1",
        "maximize",
        {"macs": Bound(max=float(np.median(macs)))},
        {"top1": -1.0, "macs": float(np.median(macs))},
    )
