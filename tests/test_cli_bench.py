"""`hybridnas bench`: what it refuses, and what it prints."""

from __future__ import annotations

import json

import pytest
import torch
from cli_helpers import Cli

from hybridnas.cli import bench
from hybridnas.cli.bench import print_kernels, print_training
from hybridnas.resources import shipped

pytest_plugins = ["cli_helpers"]


def row(op: str, ratio: float | None) -> dict[str, object]:
    shape = {"op": op, "shape": "96 @ 56", "pass": "fwd", "peer": "cuDNN"}
    times = {"peer_us": 100.0, "ours_us": 50.4, "floor_us": 30.0}
    return {**shape, **times, "ratio": ratio, "fraction_of_floor": 0.6}


def test_kernels_are_printed_with_their_means(capsys: pytest.CaptureFixture[str]) -> None:
    print_kernels("A GPU", [row("conv", 1.0), row("conv", 4.0), row("scan", None)])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "│ conv │ 96 @ 56 │ fwd │ cuDNN │ 100 │ 50 │ 4.00 │ 0.60 │" in lines
    assert "│ scan │ 96 @ 56 │ fwd │ cuDNN │ 100 │ 50 │ - │ 0.60 │" in lines
    assert "│ conv │ cuDNN │ fwd │ 2 │ 2.00 │" in lines  # sqrt(1 x 4)


def test_an_unknown_benchmark_is_refused(cli: Cli) -> None:
    assert "no benchmark of 'fft'; allowed: " in cli.refused("bench", "kernels", "--op", "fft")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_kernels_need_a_gpu(cli: Cli) -> None:
    assert "there is none here" in cli.refused("bench", "kernels")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_benchmark_runs(cli: Cli) -> None:
    words = [
        "bench",
        "kernels",
        "--op",
        "depthwise_conv2d",
        "--batch",
        "2",
        "--jobs",
        "2",
        "--json",
    ]
    rows = [json.loads(line) for line in cli.shown(*words).splitlines()]
    assert len(rows) == 16
    assert all(r["batch"] == 2 and r["ours_us"] > 0 and r["ratio"] > 0 for r in rows)


def test_trainings_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    short = {"kind": "SSM", "evaluation": 9000.4, "train": 1e4, "captured step": 11000.0}
    short |= {"eager": 3000.0, "top1": 0.61234, "stepping": "captured", "total_s": 7.256}
    steps = {"network": "hybridnas_x", "how": "captured", "images_s": 2100.0, "ms": 60.95}
    steps |= {"peak_mib": 9000.0, "first_step_s": 3.21}
    failed = {"kind": "CAFormer", "failed": "no room"}
    print_training("A GPU", {"short": [short, failed], "steps": [steps]})
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "│ SSM │ 9000 │ 10000 │ 11000 │ 3000 │ - │ 0.6123 │" in lines
    assert "│ SSM │ - │ - │ - │ - │ - │ - │ 7.26 │ captured │" in lines
    assert "CAFormer failed: no room" in lines
    assert "│ hybridnas_x │ captured │ 2100 │ 60.95 │ 9000 │ 3.2 │" in lines


def test_an_unknown_training_is_refused(cli: Cli) -> None:
    message = cli.refused("bench", "training", "--part", "long")
    assert message == "no benchmark of training 'long'; allowed: short, steps"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_trainings_need_a_gpu(cli: Cli) -> None:
    assert "there is none here" in cli.refused("bench", "training")


def test_scripts_are_told_their_own_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """They import from their neighbours, parse what the command gives them, and have rows."""
    import runpy

    assert {"bench_training", "bench_short_training"} <= shipped("bench_training").keys()
    told = {}
    real = runpy.run_path

    def loaded(path: str) -> dict[str, object]:
        module = real(path)
        told["rows"] = module["rows"]
        return {**module, "rows": lambda options: [vars(options)]}

    monkeypatch.setattr("runpy.run_path", loaded)
    (steps,) = bench._rows("bench_training", [*bench._PAIRS, "--batch", "4"])
    assert (steps["pairs"], steps["batch"]) == (list(bench._PAIRS), 4)
    assert callable(told["rows"])
    (short,) = bench._rows("bench_short_training", ["--epochs", "3", "--plain", "--data", "x"])
    assert (short["epochs"], short["plain"], short["data"]) == (3, True, "x")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_trainings_are_timed(cli: Cli) -> None:
    found = cli.json("bench", "training", "--part", "short", "--epochs", "1", "--batch", "64")
    assert [row["kind"] for row in found["short"]] == ["MambaOut", "CAFormer", "SSM"]
    assert all(row["evaluation"] > 0 for row in found["short"])
