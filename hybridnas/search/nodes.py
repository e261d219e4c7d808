"""The nodes of a Ray cluster: what they have, and whether they find what a candidate needs."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ..config import Protocol
from ..data import DIGITS
from ..environment import first_line
from ..errors import ConfigError, HybridnasError
from ..store import Store
from ..tasks import TASKS
from ..train import FRESH
from .machine import Node, Share

# A node that was never used unpacks our code and imports torch first.
_TIMEOUT_S = 600.0
_LOOK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What every node must find: the protocols' data and weights, the folder that artifacts go to
    (None: none are kept), with the name of a file that was just put there, and the database."""

    protocols: tuple[str, ...]
    artifacts: str | None
    marker: str
    storage_url: str


def alive_nodes() -> list[Node]:
    """What each node that is up has in all, whether it is in use or not."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def alive_hosts() -> list[str]:
    """The names of the machines of nodes that are up."""
    return [node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]]


def gone_nodes() -> frozenset[str]:
    """The ids of nodes that were part of the cluster and are down."""
    return frozenset(node["NodeID"] for node in ray.nodes() if not node["Alive"])


class Room:
    """How many candidates find room: as many as the study says, else as the nodes that are up have
    room for, now."""

    def __init__(
        self,
        share: Share,
        most: int | None,
        nodes: Callable[[], Sequence[Node]] = alive_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share, self._most, self._nodes, self._clock = share, most, nodes, clock
        self._looked = -math.inf
        self._room = 0

    def __call__(self) -> int:
        if self._most is not None:
            return self._most
        if self._clock() - self._looked > _LOOK_EVERY_S:
            self._looked = self._clock()
            self._room = self._share.room(self._nodes())
        return self._room


def check_nodes(
    protocols: Sequence[Protocol], artifacts: str | None, storage_url: str, share: Share
) -> None:
    """Whether the nodes that can train candidates see the data, the weights to start from, the
    folder for artifacts and the database as this machine does.

    Asks all of them at once. Raises ConfigError, naming the first node that does not.
    """
    able = [node for node in ray.nodes() if node["Alive"] and share.room([node["Resources"]])]
    with _marked(artifacts) as marker:
        texts = tuple(protocol.to_json() for protocol in protocols)
        needs = Needs(texts, artifacts, marker, storage_url)
        for node, complaint in zip(able, _ask(able, needs), strict=True):
            if complaint is not None:
                raise ConfigError(f"node {_name(node)}: {complaint}")


def complaint_about(needs: Needs) -> str | None:
    """What the machine that this runs on does not find; None: nothing. For `check_nodes`."""
    try:
        for protocol in map(Protocol.from_json, needs.protocols):
            task = protocol.task
            if task.data != DIGITS and TASKS[task.name].class_names(task) != protocol.class_names:
                return f"task.data: {task.data} has other classes there than here"
            if protocol.init != FRESH and not Path(protocol.init).is_file():
                return f"init: there is no file {protocol.init}"
        if needs.artifacts is not None and not _exists(f"{needs.artifacts}/{needs.marker}"):
            return (
                f"artifacts: {needs.artifacts} is not the folder that it is here; give one that "
                f"all nodes share, or a URL such as s3://... (--set artifacts=...)"
            )
        Store.open(needs.storage_url, create=False).close()
    except HybridnasError as error:
        return str(error)
    return None


def _ask(nodes: Sequence[dict[str, Any]], needs: Needs) -> Iterator[str | None]:
    """Each node's complaint, in their order."""
    look = ray.remote(num_cpus=0, max_retries=1)(complaint_about)
    asked = [
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(needs)
        for node in nodes
    ]
    for answer in asked:
        try:
            yield ray.get(answer, timeout=_TIMEOUT_S)
        except GetTimeoutError:
            yield f"does not answer within {_TIMEOUT_S:.0f} s"
        except RayError as error:
            yield f"cannot run our code: {first_line(error) or type(error).__name__}"


@contextmanager
def _marked(artifacts: str | None) -> Iterator[str]:
    """A file in the folder, by its name, for a while."""
    marker = f".seen-{uuid.uuid4().hex}"
    if artifacts is None:
        yield marker
        return
    try:
        filesystem, folder = fsspec.core.url_to_fs(artifacts)
        filesystem.makedirs(folder, exist_ok=True)
        filesystem.touch(f"{folder}/{marker}")
    except (OSError, ValueError, ImportError) as error:  # no such folder, protocol, or package
        raise ConfigError(f"artifacts: {artifacts} cannot be written ({error})") from None
    try:
        yield marker
    finally:
        filesystem.rm(f"{folder}/{marker}")


def _exists(path: str) -> bool:
    filesystem, inner = fsspec.core.url_to_fs(path)
    found: bool = filesystem.exists(inner)
    return found


def _name(node: dict[str, Any]) -> str:
    host, address = node["NodeManagerHostname"], node["NodeManagerAddress"]
    return host if host == address else f"{host} ({address})"
