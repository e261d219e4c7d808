"""`hybridnas bench`: what it refuses, and what it prints."""

from __future__ import annotations

import pytest
import torch
from cli_helpers import Cli

from hybridnas.cli.bench import print_kernels

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
    found = cli.json("bench", "kernels", "--op", "depthwise_conv2d", "--batch", "2")
    assert found["batch"] == 2
    assert all(r["ours_us"] > 0 and r["ratio"] > 0 for r in found["rows"])
