"""The runner of the kernels' benchmarks, on scripts that write down when and where they ran."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import Cli

from hybridnas.cli import bench
from hybridnas.cli.bench_kernels import measured
from hybridnas_kernels import selective_scan

pytest_plugins = ["cli_helpers"]

SCRIPT = """
import os
from pathlib import Path

SHAPES = [(8, 4), (8, 5), (16, 4)]
{classes}

def rows(batch, shapes):
    for shape in shapes:
        with Path("{log}").open("a") as log:
            log.write(f"{{os.getpid()}} {{batch}} {{shape}}\\n")
        print("not a row")
        if {fails}:
            raise {error}("out of memory")
        for which in ("fwd", "bwd"):
            times = {{"peer_us": 9.0, "ours_us": 3.0, "ratio": 3.0, "fraction_of_floor": 0.5}}
            yield {{"op": "fake", "shape": str(shape), "pass": which, "peer": "it"}} | times
"""
SHAPES = ["(8, 4)", "(8, 5)", "(16, 4)"]


def script(
    folder: Path, classes: str = "", fails: str = "False", error: str = "ValueError"
) -> tuple[dict[str, Path], Path]:
    """A benchmark, and the file in which it writes a line for each shape that it runs."""
    path, log = folder / "fake.py", folder / "log.txt"
    path.write_text(SCRIPT.format(log=log, classes=classes, fails=fails, error=error))
    return {"fake": path}, log


def test_rows_come_as_they_are_measured(tmp_path: Path) -> None:
    scripts, log = script(tmp_path)
    said: list[str] = []
    found = measured(scripts, batch=7, jobs=1, say=said.append)
    first = next(found)
    assert (first["shape"], first["pass"]) == ("(8, 4)", "fwd")
    assert log.read_text() == f"{os.getpid()} 7 (8, 4)\n"  # the others have not begun
    assert said == ["fake 8 x 4 ..."]
    assert [row["shape"] for row in found] == [name for name in SHAPES for _ in range(2)][1:]
    assert [line.split(" ", 2)[2] for line in log.read_text().splitlines()] == SHAPES


def test_what_is_compiled_ahead_ends_before_anything_is_timed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In other processes, once a class; one that fails there is measured all the same."""
    fails = f"shape == (8, 4) and os.getpid() != {os.getpid()}"
    scripts, log = script(tmp_path, "CLASSES = [(8, 4), (16, 4)]", fails)
    said: list[str] = []
    found = list(measured(scripts, batch=7, jobs=4, say=said.append))
    ran = [line.split(" ", 2) for line in log.read_text().splitlines()]
    assert sorted(shape for _, _, shape in ran[:2]) == ["(16, 4)", "(8, 4)"]
    assert str(os.getpid()) not in {pid for pid, _, _ in ran[:2]}
    assert [(pid, shape) for pid, _, shape in ran[2:]] == [(str(os.getpid()), s) for s in SHAPES]
    assert {batch for _, batch, _ in ran} == {"7"}
    assert len(found) == 6
    assert said[0] == "compiling for 2 shapes in 2 processes ..."
    assert sorted(line.rpartition(",")[0] for line in said[1:3]) == [
        "fake 16 x 4 compiled",
        "fake 8 x 4 not compiled ahead (ValueError: out of memory)",
    ]
    assert capfd.readouterr().out.count("not a row") == 3  # of this process alone


def test_what_was_measured_stays_when_the_command_stops(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts, _ = script(tmp_path, fails="shape == (8, 5)", error="SystemExit")
    monkeypatch.setattr(bench, "shipped", lambda kind: scripts)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    monkeypatch.chdir(tmp_path)
    done = cli("bench", "kernels", "--json", "--jobs", "1", "--batch", "7")
    assert done.code != 0
    lines = [line for line in done.out.splitlines() if line != "not a row"]
    rows = [json.loads(line) for line in lines]
    assert [(row["device"], row["batch"], row["pass"]) for row in rows] == [
        ("A GPU", 7, "fwd"),
        ("A GPU", 7, "bwd"),
    ]
    assert "fake 8 x 5 ..." in done.err


def scan_benchmark() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "kernels/bench/selective_scan.py"))


def test_the_scan_s_benchmark_runs_what_autograd_runs() -> None:
    pytest.importorskip("triton")
    script = scan_benchmark()
    given = script["arguments"](4, 5, 2, 1, "cuda" if torch.cuda.is_available() else "cpu")
    runs = script["our_runs"](given)
    out = selective_scan(**given, delta_softplus=True, backend="triton")
    torch.testing.assert_close(runs["fwd"]()[0], out)
    found = [gradient for gradient in runs["bwd"]() if gradient.numel()]
    assert [x.shape for x in found] == [x.shape for x in given.values()]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are CUDA's")
def test_the_scan_s_benchmark_times_graphs() -> None:
    forward, backward = scan_benchmark()["rows"](2, [(32, 64, 2)])
    assert (forward["pass"], backward["pass"]) == ("fwd", "bwd")
    assert 0 < forward["ours_us"] < backward["ours_us"] < 1000
