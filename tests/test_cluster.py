"""A search on a real Ray cluster of several raylets on this machine: nodes die, others join."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
from optuna.trial import TrialState
from test_own_mixer import MY_MIXERS

from hybridnas.search import search
from hybridnas.search.observer import Finished
from hybridnas.store import Store

pytestmark = [pytest.mark.drill, pytest.mark.filterwarnings("default")]

BLOCKS = {
    "gated_conv": {"form": "gated"},
    # Importable here, from a folder that is on nobody's PYTHONPATH: it must be sent along.
    "pooling": {"form": "metaformer", "expansion": None, "mixer": "sent_mixers:Pooling"},
}
RAW: dict[str, Any] = {
    **helpers.RAW,
    "space": {
        **helpers.SIX,
        "stages": [{"depth": [1, 2], "width": [8, 16], "mixer": ["gated_conv", "pooling"]}],
        "blocks": BLOCKS,
    },
    "recipe": {"batch_size": 250, "warmup_epochs": 0},
    "budget": {"trials": 8},
    "resources": {"cpus": 1, "custom": {"trainer": 1}, "retries": 0},  # dead nodes cost none
}


@pytest.fixture
def ray_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that trains nothing, since it lacks the custom resource."""
    from ray.cluster_utils import Cluster

    monkeypatch.chdir(tmp_path)
    mixers = tmp_path / "elsewhere"
    mixers.mkdir()
    (mixers / "sent_mixers.py").write_text(MY_MIXERS)
    monkeypatch.syspath_prepend(mixers)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    yield cluster
    cluster.shutdown()


def trainer(cluster: Any) -> Any:
    return cluster.add_node(num_cpus=1, resources={"trainer": 1}, wait=False)


class Saboteur(helpers.Notes):
    """Replaces the nodes one after the other while the search runs."""

    def __init__(self, cluster: Any, nodes: list[Any]) -> None:
        super().__init__()
        self.cluster, self.nodes = cluster, nodes

    def finished(self, result: Finished) -> None:
        self.results.append(result)
        if len(self.results) == 2:
            self.nodes.append(trainer(self.cluster))
        if len(self.results) in (2, 4):
            self.cluster.remove_node(self.nodes.pop(0), allow_graceful=False)


def test_nodes_die_and_join_in_the_middle_of_a_search(ray_cluster: Any, tmp_path: Path) -> None:
    nodes = [trainer(ray_cluster) for _ in range(2)]
    ray_cluster.wait_for_nodes()
    saboteur = Saboteur(ray_cluster, nodes)
    storage = f"sqlite:///{tmp_path / 'cluster.db'}"
    view = search(RAW, storage=storage, ray_address=ray_cluster.address, observer=saboteur)

    assert len(saboteur.nodes) == 1, "both of the first nodes are gone"
    assert view.counts() == {"ok": 8}
    assert len({row.architecture.digest for row in view.rows}) == 8
    assert len({row.evaluation.id for row in view.rows if row.evaluation}) == 8
    assert "P" in "".join(row.architecture.short for row in view.rows)
    with Store.open(storage, create=False) as store:
        states = [trial.state for trial in helpers.optuna_trials(store)]
    assert states == [TrialState.COMPLETE] * 8
