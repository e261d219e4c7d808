"""What a node is asked before a search begins on it, and how many candidates follow the nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import ray
from PIL import Image

from hybridnas.config import Fidelity, Protocol, Recipe, Task
from hybridnas.errors import ConfigError
from hybridnas.search import nodes as module
from hybridnas.search.machine import Share
from hybridnas.search.nodes import Needs, Room, check_nodes, complaint_about
from hybridnas.store import Store
from hybridnas.tasks import TASKS

SHARE = Share(1, 1, 0, 0)


@pytest.fixture
def needs(tmp_path: Path) -> Needs:
    """All of it is here."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / "one.png")
    task = Task(data=str(tmp_path / "pets"))
    names = TASKS["classification"].class_names(task)
    fidelity = Fidelity(epochs=1, resolution=32)
    protocol = Protocol(task=task, recipe=Recipe(), fidelity=fidelity, class_names=names)
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    Store.open(url).close()
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "seen").touch()
    return Needs((protocol.to_json(),), str(tmp_path / "artifacts"), "seen", url)


def changed(needs: Needs, **changes: object) -> Needs:
    """With another protocol."""
    protocol = Protocol.from_json(needs.protocols[0]).model_copy(update=changes)
    return replace(needs, protocols=(protocol.to_json(),))


def test_a_node_that_has_everything_complains_of_nothing(needs: Needs) -> None:
    assert complaint_about(needs) is None
    assert complaint_about(replace(needs, artifacts=None)) is None
    assert complaint_about(changed(needs, task=Task())) is None  # digits come with scikit-learn


def test_what_a_node_does_not_find_is_said(needs: Needs, tmp_path: Path) -> None:
    moved = Task(data=str(tmp_path / "elsewhere"))
    for lacking, words in (
        (changed(needs, task=moved), "elsewhere does not exist"),
        (changed(needs, class_names=("cat", "owl")), "has other classes there than here"),
        (changed(needs, init="/gone.pth"), "init: there is no file /gone.pth"),
        (replace(needs, marker="not there"), "is not the folder that it is here; give one"),
        (replace(needs, storage_url="sqlite:////gone/x.db"), "there is no folder /gone"),
    ):
        assert words in (complaint_about(lacking) or "nothing")


def test_the_first_node_that_complains_is_named(
    needs: Needs, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = ["head", "good", "bad", "dead"]
    known = [
        {
            "Alive": host != "dead",
            "Resources": {} if host == "head" else {"CPU": 2.0},
            "NodeManagerHostname": host,
            "NodeManagerAddress": f"10.0.0.{i}",
        }
        for i, host in enumerate(hosts)
    ]
    asked: list[str] = []
    seen: list[bool] = []

    def ask(nodes: list[dict[str, object]], wanted: Needs) -> list[str | None]:
        assert wanted.artifacts is not None
        seen.append((Path(wanted.artifacts) / wanted.marker).is_file())
        asked.extend(str(node["NodeManagerHostname"]) for node in nodes)
        return [None, "no data"]

    monkeypatch.setattr(ray, "nodes", lambda: known)
    monkeypatch.setattr(module, "_ask", ask)
    protocols = [Protocol.from_json(text) for text in needs.protocols]
    with pytest.raises(ConfigError, match=r"^node bad \(10\.0\.0\.2\): no data$"):
        check_nodes(protocols, needs.artifacts, needs.storage_url, SHARE)
    assert (asked, seen) == (["good", "bad"], [True])
    assert needs.artifacts is not None
    assert [path.name for path in Path(needs.artifacts).iterdir()] == ["seen"]


def test_room_is_looked_at_again_and_again_but_not_always() -> None:
    now, nodes = [0.0], [{"CPU": 2.0}]
    looks: list[float] = []

    def alive() -> list[dict[str, float]]:
        looks.append(now[0])
        return nodes

    room = Room(SHARE, None, alive, lambda: now[0])
    assert (room(), room()) == (2, 2)
    nodes.append({"CPU": 3.0})
    now[0] = 10.0
    assert room() == 5
    nodes.clear()
    now[0] = 20.0
    assert room() == 0
    assert looks == [0.0, 10.0, 20.0]
    assert Room(SHARE, 7, alive)() == 7
