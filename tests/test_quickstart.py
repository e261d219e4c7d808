"""The README's first command does what the README says of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hybridnas.search import load_study

_ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_quickstart_finds_a_front(tmp_path: Path) -> None:
    path = os.pathsep.join((str(_ROOT), str(_ROOT / "kernels")))
    done = subprocess.run(
        [sys.executable, "-c", "from hybridnas.cli import main; main()", "search", "quickstart"],
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
    assert view.counts() == {"ok": 24}
    assert view.best(1)[0].value("top1") >= 0.90
    assert all(row.value("macs") <= 6e6 for row in view.finished)
    front = [(m["values"]["top1"], m["top1_se"]) for m in view.front_json()]
    assert len(front) >= 3
    assert front[-1][0] - front[0][0] > front[0][1], "accuracy differs by more than chance"
