"""What starts a cluster: by the rules of those who read it, as far as there are any here."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler._private.util import prepare_config, validate_config

from hybridnas.search.machine import fit
from hybridnas.search.studies import read_study

FILES = Path(__file__).parent.parent / "scripts" / "cluster"
RESOURCES = read_study("cluster").resources


def test_the_autoscaler_takes_its_file() -> None:
    config = prepare_config(yaml.safe_load((FILES / "autoscaler_aws.yaml").read_text()))
    validate_config(config)
    assert config["head_node_type"] in config["available_node_types"]
    with pytest.raises(Exception, match="Additional properties are not allowed"):
        validate_config({**config, "max_nodes": 3})


def test_rays_autoscaler_reads_the_cluster_of_kuberay() -> None:
    job = yaml.safe_load((FILES / "kuberay.yaml").read_text())
    spec = job["spec"]["rayClusterSpec"]
    cluster = {"metadata": {"namespace": "default", "name": "x"}, "spec": copy.deepcopy(spec)}
    config = autoscaling_config._derive_autoscaling_config_from_ray_cr(cluster)
    validate_config(config)
    (workers,) = (
        kind
        for name, kind in config["available_node_types"].items()
        if name != config["head_node_type"]
    )
    # What it would start holds candidates of the study that it runs.
    assert fit(RESOURCES, []).room([workers["resources"]]) == 4
    assert (workers["min_workers"], workers["max_workers"]) == (0, 16)
    assert "search cluster " in job["spec"]["entrypoint"]


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """A job's environment, with programs on the path that note what they were called with."""
    programs = {
        "ray": 'echo "ray $* $RAY_AUTH_MODE ${#RAY_AUTH_TOKEN}" >> log',
        "srun": 'echo "srun $*" >> log; sleep 60',
        "hostname": 'case "$*" in --ip-address) echo 10.0.0.1;; *) echo node1;; esac',
        "hybridnas": 'echo "hybridnas $*" >> log; trap "echo stopped >> log; exit 130" TERM; '
        "for _ in $(seq 200); do [ -e done ] && exit 3; sleep 0.05; done",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    known = {"NUM_NODES": "3", "ID": "41", "NAME": "x"}
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_CPUS_PER_TASK": "32",
        "SLURM_GPUS_ON_NODE": "4",
        "HYBRIDNAS_STORAGE": "postgresql+psycopg://u:p@h/n",
        **{f"SLURM_JOB_{name}": value for name, value in known.items()},
    }


def start(folder: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    """slurm.sh; what it says on stderr goes to the file `said`."""
    with (folder / "said").open("wb") as said:
        return subprocess.Popen(
            ["bash", str(FILES / "slurm.sh"), *words],
            cwd=folder,
            env=environment,
            stderr=said,
            start_new_session=True,
        )


def wait_for(log: Path, words: str) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if log.exists() and words in log.read_text():
            return log.read_text()
        time.sleep(0.05)
    pytest.fail(f"{words!r} was not logged")


def test_slurm_starts_a_head_workers_and_the_search(tmp_path: Path, slurm: dict[str, str]) -> None:
    process = start(tmp_path, slurm, "my study", "--set", "seed=1")
    wait_for(tmp_path / "log", "hybridnas")
    log = wait_for(tmp_path / "log", "srun").splitlines()
    (tmp_path / "done").touch()
    assert process.wait(30) == 3, "the search's own exit code"
    head = "--node-ip-address=10.0.0.1 --port=20041 --include-dashboard=false"
    assert sorted(log) == [
        "hybridnas search my study --resume --ray 10.0.0.1:20041 --set seed=1",
        f"ray start --head {head} --num-cpus=32 --num-gpus=4 token 64",
        "srun --nodes=2 --ntasks=2 --exclude=node1 ray start --address=10.0.0.1:20041 --block "
        "--num-cpus=32 --num-gpus=4",
    ]


def test_slurms_warning_ends_the_search_in_good_order(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    process = start(tmp_path, slurm, "study")
    wait_for(tmp_path / "log", "hybridnas")
    time.sleep(0.5)  # until the script waits for it
    process.send_signal(signal.SIGTERM)  # to the script alone, as --signal=B: sends it
    assert process.wait(30) == 130
    assert "stopped" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [({}, [], "usage: sbatch"), ({"HYBRIDNAS_STORAGE": ""}, ["study"], "several nodes need Postg")],
)
def test_slurm_refuses_what_cannot_run(
    tmp_path: Path, slurm: dict[str, str], changes: dict[str, str], words: list[str], message: str
) -> None:
    process = start(tmp_path, {**slurm, **changes}, *words)
    assert process.wait(30) == 1
    assert message in (tmp_path / "said").read_text()
    assert not (tmp_path / "log").exists()


def test_one_node_needs_no_workers_and_no_server(tmp_path: Path, slurm: dict[str, Any]) -> None:
    changes = {"SLURM_JOB_NUM_NODES": "1", "HYBRIDNAS_STORAGE": ""}
    (tmp_path / "done").touch()
    process = start(tmp_path, {**slurm, **changes}, "study")
    assert process.wait(30) == 3
    assert "srun" not in (tmp_path / "log").read_text()
