"""How many candidates run at once, and what each gets, on the nodes at hand."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from ..config import Resources, Study
from ..counting import number_of
from ..environment import check_kernels
from ..errors import ConfigError
from ..provenance import machine
from .cluster import LOCAL, address_of

# While one builds, captures or scores, others train. Whole searches of 155 s evaluated 84 and 94
# candidates three at once, 97 and 100 with four, 102 twice with six, which take half as much memory
# and CPU again (studies/LOG.md).
_CANDIDATES_A_GPU = 4
_CPUS_A_GPU_CANDIDATE = 2

# What Ray says that a node has: CPU, GPU, custom resources, by name.
Node: TypeAlias = Mapping[str, float]


@dataclass(frozen=True)
class Share:
    """What one candidate gets, and how many there are at once (as the search begins).

    custom: of Ray's custom resources, by name.
    """

    concurrent: int
    cpus: float
    gpus: float
    loader_workers: int
    custom: Mapping[str, float] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        return max(1, int(self.cpus) - self.loader_workers)

    @property
    def words(self) -> str:
        each = _words(self.cpus, self.gpus, self.custom)
        return f"{number_of(self.concurrent, 'candidate')} at once, {each} each"

    def room(self, nodes: Sequence[Node]) -> int:
        """How many candidates the nodes hold at once."""
        return sum(_room(node, self.cpus, self.gpus, self.custom) for node in nodes)


def this_machine() -> dict[str, float]:
    """What Ray would find here."""
    return {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}


def device_here(share: Share) -> str | None:
    """What candidates with such a share train on here; None: on nodes that are still to come."""
    if share.gpus and not torch.cuda.is_available():
        return None
    return str(machine(torch.device("cuda" if share.gpus else "cpu"))["device"])


def share_of(study: Study, nodes: Sequence[Node]) -> Share:
    """What a study's candidates get (`fit`).

    Raises ConfigError, also where it asks for what only GPUs measure, and there are none, and where
    its only budget is of GPU time, which then never ends.
    """
    share = fit(study.resources, nodes)
    budget = study.budget
    if not share.gpus and budget.trials is None and budget.hours is None:
        raise ConfigError(
            f"budget: candidates get no GPU here, so that gpu_hours {budget.gpu_hours:g} would "
            f"never be spent: give budget.hours or budget.trials"
        )
    if not share.gpus and "memory_mb" in {*study.objectives, *study.soft()}:
        raise ConfigError(
            "memory_mb is measured on GPUs, and candidates get none here: leave it out of "
            "objectives and constraints"
        )
    return share


def check_here(study: Study, ray_address: str | None) -> None:
    """Raises ConfigError for a study that cannot run here (`share_of`, `check_kernels`), before
    anything is written of it. Of a Ray that is elsewhere, or is running already, its nodes will say
    what they have."""
    check_kernels()
    ray = sys.modules.get("ray")
    if address_of(ray_address) == LOCAL and not (ray and ray.is_initialized()):
        share = share_of(study, [this_machine()])
        check_kernels(None if share.gpus else torch.device("cpu"))


def share_words(study: Study, share: Share) -> str:
    """`2 candidates at once, 1 CPU each`, and which budget does not count with that."""
    if share.gpus or study.budget.gpu_hours is None:
        return share.words
    return f"{share.words}; without a GPU budget.gpu_hours does not count"


def fit(resources: Resources, nodes: Sequence[Node]) -> Share:
    """The share of a candidate: what the study says, else fitted to the nodes' CPUs and GPUs.

    Without a GPU a candidate gets one CPU. With GPUs, up to four share each, as far as the CPUs
    feed them; every node gives the same share, the poorest in CPUs a GPU decides. Raises
    ConfigError for what no node can give, unless the study waits for others (`nodes: elastic`).
    """
    custom = resources.custom
    able = [node for node in nodes if _room(node, 0, 0, custom)]
    gpus = resources.gpus if resources.gpus is not None else _gpu_fraction(resources, able)
    rooms = {i: _room(node, resources.cpus or 1, gpus, custom) for i, node in enumerate(able)}
    concurrent = resources.concurrent or sum(rooms.values())
    cpus = resources.cpus
    if cpus is None:
        at_most = [able[i]["CPU"] // min(room, concurrent) for i, room in rooms.items() if room]
        cpus = max(1, min(at_most, default=1)) if gpus else 1
    if not any(rooms.values()) and resources.nodes == "fixed":
        raise ConfigError(
            f"resources: a candidate asks for {_words(cpus, gpus, custom, exact=True)}, "
            f"but Ray has {_listed(nodes)}"
        )
    loaders = resources.loader_workers
    if loaders is None:
        loaders = max(0, int(cpus) - 1) if gpus else 0
    return Share(concurrent, cpus, gpus, loaders, custom)


def _gpu_fraction(resources: Resources, nodes: Sequence[Node]) -> float:
    """Of a GPU, for each of the candidates that all of these nodes can feed."""
    with_gpu = [node for node in nodes if node.get("GPU")]
    if not with_gpu:
        return 0.0
    if resources.concurrent is not None:
        on_one = resources.concurrent / sum(node["GPU"] for node in with_gpu)
    else:
        on_one = min(_at_once(node, resources) / node["GPU"] for node in with_gpu)
    # Fractions that do not fill a GPU exactly are no use to Ray.
    return 1 / max(1, math.ceil(on_one))


def _at_once(node: Node, resources: Resources) -> float:
    """How many candidates a node with GPUs is to hold where nobody says so."""
    cpus = resources.cpus or _CPUS_A_GPU_CANDIDATE
    most = min(_CANDIDATES_A_GPU * node["GPU"], max(1, node.get("CPU", 0) // cpus))
    return min(most, _room(node, 0, 0, resources.custom)) if resources.custom else most


def _room(node: Node, cpus: float, gpus: float, custom: Mapping[str, float]) -> int:
    """How many candidates a node holds at once; of those that ask for nothing, one."""
    wanted = {"CPU": cpus, **custom}
    rooms = [int(node.get(name, 0) / amount + 1e-6) for name, amount in wanted.items() if amount]
    if gpus:  # a fraction lies on one GPU
        on_one = int(1 / gpus + 1e-6)
        have = node.get("GPU", 0)
        rooms.append(on_one * int(have) if on_one else int(have / gpus + 1e-6))
    return min(rooms, default=1)


def _words(cpus: float, gpus: float, custom: Mapping[str, float], exact: bool = False) -> str:
    """`2 CPU and 0.25 GPU, 1 a100`; exact: GPUs are named where there are none, too."""
    words = f"{cpus:g} CPU" + ("s" if exact else "")
    if exact or gpus:
        words += f" and {gpus:.3g} GPU" + ("s" if exact else "")
    return words + "".join(f", {amount:g} {name}" for name, amount in custom.items())


def _listed(nodes: Sequence[Node]) -> str:
    """What each node has, up to some; Ray's own marks of a node are left out."""
    found = []
    for node in nodes[:4]:
        own = {
            name: amount
            for name, amount in node.items()
            if name not in ("CPU", "GPU", "memory", "object_store_memory")
            and not name.startswith(("node:", "accelerator_type:"))
        }
        found.append(_words(node.get("CPU", 0), node.get("GPU", 0), own, exact=True))
    more = f"; and {len(nodes) - 4} more nodes" if len(nodes) > 4 else ""
    return ("; ".join(found) or "no node") + more
