"""What `hybridnas doctor` finds."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
import torch
from cli_helpers import DATABASE, Cli

from hybridnas.cli.doctor import Finding, examine
from hybridnas.config import Task
from hybridnas.data import data_digest, open_splits

TORCH = importlib.metadata.version("torch")

pytest_plugins = ["cli_helpers"]


def found(storage: str = f"sqlite:///{DATABASE}", data: str | None = None) -> dict[str, Finding]:
    findings = examine(storage, data)
    by_name = {finding.what: finding for finding in findings}
    assert len(by_name) == len(findings)
    return by_name


def test_packages_and_data_are_found(cli: Cli) -> None:
    findings = found()
    for name in ("python", "torch", "timm", "optuna", "ray", "sqlalchemy", "kernels"):
        assert findings[name].ok
    assert findings["torch"].found == TORCH
    digest = data_digest(*open_splits(Task()))
    assert findings["data digits"].found == (
        f"classification: 1000 train, 497 val, 10 classes, digest {digest}"
    )
    assert not list(Path().iterdir()), "nothing is written"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_kernels_that_cannot_run_are_said(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDNAS_KERNELS", "mamba")
    kernels = found()["kernels"]
    assert not kernels.ok
    assert "backend mamba was forced, but its tensors must be on a CUDA device" in kernels.found
    assert kernels.advice == "set HYBRIDNAS_KERNELS to auto, or leave it unset"
    monkeypatch.setenv("HYBRIDNAS_KERNELS", "auto")
    assert found()["kernels"].found == "torch"


def test_no_gpu_is_said_with_advice(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu = found()["gpu"]
    assert (gpu.ok, gpu.found) == (False, "no CUDA device")
    assert "hybrid_small" in gpu.advice


def test_gpus_are_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name, total_memory = "H200", 141 * 2**30

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    gpu = found()["gpu"]
    assert gpu.ok
    assert gpu.found.startswith("H200 (141 GiB), H200 (141 GiB), CUDA ")


def test_what_is_not_installed_comes_with_advice(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    psycopg = found()["psycopg"]
    assert (psycopg.ok, psycopg.found) == (False, "not installed")
    assert "pip install 'hybridnas[postgres]'" in psycopg.advice
    # The table prints brackets as they are.
    assert "pip install 'hybridnas[postgres]' to use PostgreSQL" in cli.shown("doctor")


def test_the_database(populated: Cli) -> None:
    assert found()[f"database sqlite:///{DATABASE}"] == Finding(
        f"database sqlite:///{DATABASE}", True, "2 studies"
    )
    missing = found("sqlite:///other.db")["database sqlite:///other.db"]
    assert not missing.ok
    assert "`hybridnas search` creates it" in missing.found
    Path("broken.db").write_text("no database" * 100)
    broken = found("sqlite:///broken.db")["database sqlite:///broken.db"]
    assert (broken.ok, broken.advice) == (False, "")
    assert "file is not a database" in broken.found


def test_another_data_set(cli: Cli) -> None:
    assert "nowhere does not exist" in found(data="nowhere")["data nowhere"].found
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            Path("pets", split, name).mkdir(parents=True)
            Path("pets", split, name, "1.png").touch()
    assert found(data="pets")["data pets"].found.startswith(
        "classification: 2 train, 2 val, 2 classes, digest "
    )


def test_as_a_table_and_as_json(cli: Cli) -> None:
    document = cli.json("doctor", "--data", "nowhere")
    assert [each["what"] for each in document] == list(found(data="nowhere"))
    assert all(each.keys() == {"what", "ok", "found", "advice"} for each in document)
    shown = cli.shown("doctor")
    assert f"│ torch │ ok │ {TORCH} │ │" in shown
    assert "│ database sqlite:///hybridnas.db │ - │ no database at " in shown
