"""The README's first command does what the README says of it, in fewer trials."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybridnas.search import load_study

_ROOT = Path(__file__).parent.parent
_TRIALS = 14  # ten at random, and some that are proposed by what those have shown


@pytest.mark.slow
def test_the_quickstart_finds_a_front(tmp_path: Path) -> None:
    path = os.pathsep.join((str(_ROOT), str(_ROOT / "kernels")))
    words = ("search", "quickstart", "--set", f"budget.trials={_TRIALS}")
    done = subprocess.run(
        [sys.executable, "-c", "from hybridnas.cli import main; main()", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Pareto front of quickstart" in done.stdout
    view = load_study("quickstart", f"sqlite:///{tmp_path / 'hybridnas.db'}")
    assert view.counts() == {"ok": _TRIALS}
    assert view.best(1)[0].value("top1") >= 0.90
    assert all(row.value("macs") <= 6e6 for row in view.finished)
    front = [(m["values"]["top1"], m["top1_se"]) for m in view.front_json()]
    assert len(front) >= 3
    assert front[-1][0] - front[0][0] > front[0][1], "accuracy differs by more than chance"
