"""What each candidate gets on a machine, and how many run at once."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from search_helpers import plan

from hybridnas.config import Resources
from hybridnas.errors import ConfigError
from hybridnas.search.machine import Share, fit, share_of, share_words


def machine(cpus: float, gpus: float = 0) -> dict[str, float]:
    """As Ray describes its cluster: no GPU, no key."""
    return {"CPU": cpus, "memory": 1e10, **({"GPU": gpus} if gpus else {})}


@pytest.mark.parametrize(
    ("resources", "cluster", "want"),
    [
        ({}, machine(1), Share(1, 1, 0, 0)),
        ({}, machine(2), Share(2, 1, 0, 0)),
        ({}, machine(16, 1), Share(4, 4, 0.25, 3)),
        ({}, machine(2, 1), Share(1, 2, 1, 1)),
        ({}, machine(6, 1), Share(3, 2, 1 / 3, 1)),
        ({}, machine(64, 8), Share(32, 2, 0.25, 1)),
        ({}, machine(1, 8), Share(1, 1, 1, 0)),
        ({"concurrent": 2}, machine(16, 1), Share(2, 8, 0.5, 7)),
        ({"concurrent": 3}, machine(16, 2), Share(3, 5, 0.5, 4)),
        ({"concurrent": 1}, machine(16), Share(1, 1, 0, 0)),
        ({"cpus": 2}, machine(2), Share(1, 2, 0, 0)),
        ({"cpus": 0.5}, machine(2), Share(4, 0.5, 0, 0)),
        ({"cpus": 8}, machine(16, 1), Share(2, 8, 0.5, 7)),
        ({"gpus": 0}, machine(16, 1), Share(16, 1, 0, 0)),
        ({"gpus": 1}, machine(16, 2), Share(2, 8, 1, 7)),
        ({"gpus": 0.2}, machine(16, 1), Share(5, 3, 0.2, 2)),
        ({"gpus": 0.4}, machine(16, 2), Share(4, 4, 0.4, 3)),  # two on each, none across both
        ({"gpus": 2}, machine(16, 4), Share(2, 8, 2, 7)),
        ({"loader_workers": 0}, machine(16, 1), Share(4, 4, 0.25, 0)),
        (
            {"concurrent": 5, "gpus": 0.2, "cpus": 3, "loader_workers": 2},
            machine(16, 1),
            Share(5, 3, 0.2, 2),
        ),
    ],
)
def test_a_share(resources: dict[str, Any], cluster: dict[str, float], want: Share) -> None:
    assert fit(Resources(**resources), [cluster]) == want


@pytest.mark.parametrize("gpus", range(9))
def test_what_is_fitted_fits(gpus: int) -> None:
    for cpus in range(1, 130):
        share = fit(Resources(), [machine(cpus, gpus)])
        assert share.concurrent >= 1
        assert share.concurrent * share.cpus <= cpus
        assert share.concurrent * share.gpus <= gpus + 1e-9
        assert (share.gpus > 0) == (gpus > 0)
        assert share.threads + share.loader_workers <= max(1, share.cpus)


@pytest.mark.parametrize(
    ("resources", "cluster"),
    [
        ({"gpus": 1}, machine(2)),
        ({"gpus": 2}, machine(16, 1)),
        ({"cpus": 4}, machine(2)),
        ({"cpus": 3, "gpus": 0.5}, machine(2, 1)),
        ({}, {"memory": 1e10}),
    ],
)
def test_what_can_never_be_given(resources: dict[str, Any], cluster: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"asks for .* CPUs and .* GPUs, but Ray has"):
        fit(Resources(**resources), [cluster])


HEAD, WORKER = machine(32), machine(8, 4)


@pytest.mark.parametrize(
    ("resources", "nodes", "want"),
    [
        # By the sum of both, 40 CPUs and 4 GPUs, each of 16 candidates would get 2 CPUs; the node
        # with the GPUs has 8.
        ({}, [HEAD, WORKER], Share(4, 2, 1, 1)),
        ({}, [WORKER, machine(64, 4)], Share(8, 2, 1, 1)),
        ({"gpus": 0}, [HEAD, WORKER], Share(40, 1, 0, 0)),
        ({"gpus": 1, "cpus": 4}, [HEAD, WORKER, WORKER], Share(4, 4, 1, 3)),
        ({"cpus": 5}, [machine(8), machine(4)], Share(1, 5, 0, 0)),
        (
            {"custom": {"a100": 1}},
            [machine(16, 4), machine(16, 2) | {"a100": 2}],
            Share(2, 8, 1, 7, {"a100": 1}),
        ),
        (
            {"nodes": "elastic", "concurrent": 64, "cpus": 8, "gpus": 1},
            [HEAD],
            Share(64, 8, 1, 7),
        ),
    ],
)
def test_nodes_that_differ(
    resources: dict[str, Any], nodes: list[dict[str, float]], want: Share
) -> None:
    assert fit(Resources(**resources), nodes) == want


def test_room_follows_the_nodes() -> None:
    share = Share(4, 2, 0.5, 1, {"a100": 1})
    able = machine(16, 4) | {"a100": 4}
    assert [share.room(nodes) for nodes in ([], [HEAD], [able], [able, HEAD, able])] == [0, 0, 4, 8]
    assert share.room([machine(5, 4) | {"a100": 4}]) == 2  # for want of CPUs


def test_what_no_node_has_is_said_with_what_they_have() -> None:
    message = r"asks for 8 CPUs and 1 GPUs, 1 a100, but Ray has 32 CPUs and 0 GPUs; 8 CPUs and 4 G"
    with pytest.raises(ConfigError, match=message):
        fit(Resources(gpus=1, cpus=8, custom={"a100": 1}), [HEAD | {"node:10.0.0.1": 1}, WORKER])
    # All nodes together have it, none by itself.
    with pytest.raises(ConfigError, match=r"asks for 12 CPUs .* but Ray has 8 CPUs .*; 8 CPUs"):
        fit(Resources(cpus=12, gpus=0), [WORKER, WORKER])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"custom": {"GPU": 1}}, "custom.GPU: that is resources.gpus"),
        ({"nodes": "elastic", "gpus": 1}, "elastic needs concurrent, cpus and gpus"),
    ],
)
def test_resources_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Resources(**given)


def test_threads_are_what_the_loaders_leave() -> None:
    assert [Share(1, cpus, 0, 3).threads for cpus in (8, 4, 2, 0.5)] == [5, 1, 1, 1]


def test_gpu_hours_alone_need_a_gpu() -> None:
    study = plan(budget={"gpu_hours": 0.5}).study
    assert share_of(study, [machine(16, 1)]).gpus
    message = r"gpu_hours 0\.5 would never be spent: give budget\.hours or budget\.trials"
    with pytest.raises(ConfigError, match=message):
        share_of(study, [machine(16)])
    with pytest.raises(ConfigError, match=message):
        share_of(plan(budget={"gpu_hours": 0.5}, resources={"gpus": 0}).study, [machine(16, 1)])
    both = plan(budget={"gpu_hours": 0.5, "hours": 1}).study
    known = share_of(both, [machine(2)])
    assert share_words(both, known).endswith("; without a GPU budget.gpu_hours does not count")
    assert (
        share_words(both, share_of(both, [machine(2, 1)]))
        == "1 candidate at once, 2 CPU and 1 GPU each"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"objectives": {"top1": "maximize", "memory_mb": "minimize"}},
        {"constraints": {"memory_mb": {"max": 100}}},
    ],
)
def test_memory_needs_a_gpu(changes: dict[str, Any]) -> None:
    study = plan(**changes).study
    assert share_of(study, [machine(16, 1)]) == fit(study.resources, [machine(16, 1)])
    with pytest.raises(ConfigError, match="memory_mb is measured on GPUs, and candidates get none"):
        share_of(study, [machine(16)])
