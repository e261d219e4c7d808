"""`hybridnas profile`: what a network takes here."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import Cli
from torch import nn

import hybridnas
from hybridnas.cli.common import in_units
from hybridnas.cli.profiles import _print
from hybridnas.profiling import measure, profile, setting_for
from hybridnas.profiling.memory import peak_mib
from hybridnas.profiling.timing import Effort, Run

pytest_plugins = ["cli_helpers"]

CPU = torch.device("cpu")
QUICK = Effort(warmup=1, rounds=2, runs=1, seconds=0.1)


def of_one(mixer: str) -> hybridnas.Architecture:
    """A block of it."""
    stages = [{"width": 8, "blocks": [{"form": "gated", "mixer": mixer}]}]
    return hybridnas.Architecture.from_dict({"stages": stages, "head": "linear"})


TINY = of_one("gated_conv")  # a scan takes seconds to trace on a CPU


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "reference", lambda name: TINY)
    monkeypatch.setattr(measure, "Effort", lambda: QUICK)


def test_peak_memory_is_that_of_the_tensors(capfd: pytest.CaptureFixture[str]) -> None:
    def make() -> Run:
        layer, x = nn.Linear(1024, 1024, bias=False), torch.zeros(256, 1024)

        def run() -> None:
            with torch.no_grad():
                layer(layer(x))

        return run

    # MiB: the weight 4, input, what is between, and output 1 each.
    assert peak_mib(make, CPU) == 7.0
    assert capfd.readouterr() == ("", ""), "the tracer writes past Python's streams"


@pytest.mark.parametrize(("mixer", "dtype"), [("ssm", "float32"), ("gated_conv", "bfloat16")])
def test_a_network_is_measured(mixer: str, dtype: str) -> None:
    tiny = of_one(mixer)
    found = profile(tiny, setting_for(CPU, (32, 32), 2, dtype), 10)
    for figures in (found.inference, found.training):
        assert 0 < figures.low_ms <= figures.latency_ms <= figures.high_ms
        assert figures.images_per_second == pytest.approx(2e3 / figures.latency_ms)
        assert (figures.runs, figures.reference_ms > 0) == (2, True)
    params = hybridnas.cost(tiny, 32, num_classes=10).params
    image = 2 * 3 * 32 * 32
    size = 2 if dtype == "bfloat16" else 4
    assert found.inference.peak_mib > (params + image) * size / 2**20
    # Weights, gradients and two moments in float32.
    assert found.training.peak_mib > (4 * params + image) * 4 / 2**20
    assert found.training.peak_mib > found.inference.peak_mib


@pytest.mark.parametrize("on_cuda", [True, False])
def test_memory_that_runs_out_is_said(monkeypatch: pytest.MonkeyPatch, on_cuda: bool) -> None:
    def full(*_: Any) -> Run:
        if on_cuda:
            raise torch.OutOfMemoryError("no room")
        return torch.empty(2**50)  # type: ignore[return-value]

    monkeypatch.setattr(measure, "training_step", full)
    with pytest.raises(hybridnas.errors.ConfigError, match=r"batch of 2 does not fit .* --batch"):
        profile(TINY, setting_for(CPU, (32, 32), 2), 10)


def test_other_errors_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any) -> Run:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(measure, "training_step", wrong)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        profile(TINY, setting_for(CPU, (32, 32), 2), 10)


def test_the_command(cli: Cli) -> None:
    Path("tiny.json").write_text(TINY.to_json())
    asked = ("profile", "tiny.json", "--input-size", "32x64", "--batch", "1", "--batch", "2")
    found = cli.json(*asked)
    assert (found["digest"], found["num_classes"]) == (TINY.digest, 1000)
    assert found["macs"] == hybridnas.cost(TINY, (32, 64)).macs
    assert [one["batch"] for one in found["profiles"]] == [1, 2]
    first = found["profiles"][0]
    assert (first["mode"], first["dtype"], first["input_size"]) == ("eager", "float32", [32, 64])
    assert first["inference"]["latency_ms"] > 0
    shown = cli.shown(*asked[:-2])
    assert f"tiny.json, {in_units(found['params'])} parameters" in shown
    assert "measured in turn" in shown


@pytest.mark.parametrize("slowest", [2.9, 3.1])
def test_rounds_that_differ_much_are_not_relied_on(
    slowest: float, capsys: pytest.CaptureFixture[str]
) -> None:
    steady = measure.Figures(1.2, 1.0, 1.5, 800, 10.0, 1.0, 30)
    found = measure.Profile(
        setting_for(CPU, (32, 32), 2), steady, dataclasses.replace(steady, high_ms=slowest)
    )
    _print("tiny", "1", "1", [found])
    shown = capsys.readouterr().out
    words = f"batch 2, training: the slowest round took {slowest} times as long as the quickest"
    assert (words in shown) == (slowest > 3)
    assert "inference: the slowest" not in shown


def test_what_cannot_be_measured_is_refused(cli: Cli) -> None:
    femto = ("profile", "mambaout_femto")
    assert "--mode captured needs a CUDA device" in cli.refused(*femto, "--mode", "captured")
    assert "no device 'tpu'" in cli.refused(*femto, "--device", "tpu")
    assert "--input-size takes 224 or 512x2048" in cli.refused(*femto, "--input-size", "big")
    assert "no architecture 'femto'" in cli.refused("profile", "femto")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_captured_on_cuda() -> None:
    found = profile(TINY, setting_for(torch.device("cuda"), (64, 64), 8), 10)
    assert found.setting.mode == "captured"
    assert found.inference.latency_ms < found.training.latency_ms
