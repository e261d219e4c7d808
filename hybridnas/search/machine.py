"""How many candidates run at once, and what each gets, on the machines at hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..config import Resources
from ..errors import ConfigError

# While one builds, captures or scores, others train; eager steps of small networks gained almost
# fourfold from four. The best number with captured steps is not measured (studies/LOG.md).
_CANDIDATES_A_GPU = 4
_CPUS_A_GPU_CANDIDATE = 2


@dataclass(frozen=True)
class Share:
    """What one candidate gets, and how many there are at once."""

    concurrent: int
    cpus: float
    gpus: float
    loader_workers: int

    @property
    def threads(self) -> int:
        return max(1, int(self.cpus) - self.loader_workers)

    @property
    def words(self) -> str:
        each = f"{self.cpus:g} CPU" + (f" and {self.gpus:.3g} GPU" if self.gpus else "")
        return f"{self.concurrent} candidates at once, {each} each"


def this_machine() -> dict[str, float]:
    """What Ray would find here."""
    return {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}


def fit(resources: Resources, cluster: Mapping[str, float]) -> Share:
    """The share of a candidate: what the study says, else fitted to the cluster's CPU and GPU.

    Without a GPU a candidate gets one CPU. With GPUs, up to four share each, as far as the CPUs
    feed them. Raises ConfigError for what the cluster can never give.
    """
    total_cpus, total_gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
    if resources.gpus is not None:
        gpus = resources.gpus
    elif total_gpus:
        at_once = resources.concurrent or min(
            _CANDIDATES_A_GPU * total_gpus,
            max(1, total_cpus // (resources.cpus or _CPUS_A_GPU_CANDIDATE)),
        )
        # Fractions that do not fill a GPU exactly are no use to Ray.
        gpus = 1.0 if at_once <= total_gpus else 1 / -(-at_once // total_gpus)
    else:
        gpus = 0.0
    fitting = int(total_cpus / (resources.cpus or 1) + 1e-6)
    if gpus:
        fitting = min(fitting, int(total_gpus / gpus + 1e-6))
    concurrent = resources.concurrent or max(1, fitting)
    cpus = resources.cpus or max(1, total_cpus // concurrent if gpus else 1)
    loaders = resources.loader_workers
    if loaders is None:
        loaders = max(0, int(cpus) - 1) if gpus else 0
    if cpus > total_cpus or gpus > total_gpus:
        raise ConfigError(
            f"resources: a candidate asks for {cpus:g} CPUs and {gpus:g} GPUs, "
            f"but Ray has {total_cpus:g} CPUs and {total_gpus:g} GPUs"
        )
    return Share(concurrent, cpus, gpus, loaders)
