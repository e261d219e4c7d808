"""Commands that only read, and every help, start without the packages that train."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from hybridnas.cli import common

pytest_plugins = ["cli_helpers"]

SLOW = ("torch", "timm", "ray")

# One process, since each takes a second to start: what a command has loaded stays loaded, so the
# first that loads too much is the one that is named.
LOADED = f"""
import json, sys
from hybridnas.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["hybridnas", *words]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    slow = [name for name in {SLOW} if name in sys.modules]
    print(json.dumps([words, code, slow]), file=sys.stderr)
"""

READING = [
    ["--version"],
    ["--help"],
    ["search", "--help"],
    ["train", "--help"],
    ["doctor", "--help"],
    ["bench", "kernels", "--help"],
    ["status", "shapes"],
    ["pareto", "shapes"],
    ["compare", "shapes", "shapes"],
    ["cost", "shapes:0"],
    ["cost", "mambaout_tiny", "--task", "segmentation"],
    ["archs"],
    ["archs", "show", "mambaout_tiny"],
    ["spaces"],
    ["spaces", "sample", "hybrid", "-n", "2"],
    ["db", "info"],
    ["db", "rename", "empty", "bare", "--yes"],
    ["db", "delete", "bare", "--yes"],
    ["report", "shapes", "--out", "report.md"],
]
REFUSED = [
    ["pareto", "--jsno"],
    ["nothing"],
    ["pareto", "missing"],
    ["search", "missing"],
    ["search", "missing.yaml"],
    ["search", "missing", "--resume"],
    ["search", "quickstart", "--set", "budget.trails=3"],
    ["search", "quickstart", "--set", "name=shapes"],
    ["search", "shapes", "--resume", "--set", "space=hybrid", "--set", "constraints.macs.max=1"],
    ["search", "quickstart", "--set", "space=missing"],
    ["search", "quickstart", "--set", "task.data=missing"],
    ["search", "segmentation", "--set", "task.data=missing"],
    ["search", "detection", "--set", "task.data=missing"],
    ["search", "quickstart", "--set", "task.data=."],
    ["search", "segmentation", "--set", "task.data=."],
    ["search", "detection", "--set", "task.data=."],
    ["ablate", "shapes:99"],
    ["ablate", "missing:0"],
    ["ablate", "mambaout_tiny"],
    ["ablate", "mambaout_tiny", "--study", "segmentation", "--set", "task.data=missing"],
    ["ablate", "shapes:0", "--stages", "x"],
    ["ablate", "shapes:0", "--rung", "7"],
    ["calibrate", "missing"],
    ["calibrate", "quickstart", "--set", "task.data=missing"],
    ["export", "shapes:99", "--out", "here"],
    ["export", "shapes:2", "--out", "here"],
    ["export", "shapes:0", "--out", "here", "--num-classes", "3"],
    ["export", "missing:0", "--out", "here"],
    ["export", "shapes:0", "--out", "hybridnas.db"],
    ["export", "mambaout_femto", "--untrained", "--out", "hybridnas.db"],
    ["train", "missing", "--recipe", "proxy_images64_30e", "--data", "digits", "--out", "here"],
    ["train", "mambaout_tiny", "--recipe", "missing", "--data", "digits", "--out", "here"],
    ["train", "mambaout_tiny", "--recipe", "ade20k_160k", "--data", "missing", "--out", "here"],
    ["train", "mambaout_tiny", "--recipe", "coco_1x", "--data", ".", "--out", "here"],
    ["profile", "missing"],
    ["profile", "mambaout_tiny", "--input-size", "x"],
    ["latency", "missing", "--out", "table.json"],
    ["latency", "hybrid", "--out", "."],
    ["evaluate", "missing"],
    ["evaluate", "missing", "--task", "missing"],
]


@pytest.mark.usefixtures("populated")
def test_reading_loads_neither_torch_nor_timm_nor_ray() -> None:
    words = json.dumps([*READING, *REFUSED])
    done = subprocess.run(
        [sys.executable, "-c", LOADED, words], capture_output=True, text=True, check=True
    )
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("[[")]
    assert told == [[w, 0, []] for w in READING] + [[w, 2, []] for w in REFUSED]


# Each ends where it says that it loads PyTorch: with 101 if that has happened already.
SAYS = """
import json, sys
from hybridnas.cli import common, main
common.loading = lambda what="PyTorch": sys.exit(100 + ("torch" in sys.modules))
codes = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["hybridnas", *words]
    try:
        main()
    except SystemExit as end:
        codes.append(end.code)
print(json.dumps(codes))
"""
TRAINING = [
    ["search", "shapes", "--resume"],
    ["search", "quickstart", "--dry-run"],
    ["calibrate", "quickstart", "--epochs", "60"],
    ["ablate", "caformer_s18", "--study", "quickstart"],
    [
        "train",
        "mambaout_femto",
        "--recipe",
        "proxy_images64_30e",
        "--data",
        "digits",
        "--out",
        "there",
    ],
    ["export", "shapes:0", "--out", "there"],
    ["evaluate", "exported"],
    ["profile", "mambaout_femto"],
    ["latency", "hybrid_small", "--out", "there.json"],
]


@pytest.mark.usefixtures("populated")
def test_what_trains_says_so_before_it_loads_torch() -> None:
    Path("exported").mkdir()
    config = {"architecture": "hybridnas", "num_classes": 2, "model_args": {}, "pretrained_cfg": {}}
    Path("exported/config.json").write_text(json.dumps(config))
    Path("exported/model.safetensors").touch()
    done = subprocess.run(
        [sys.executable, "-c", SAYS, json.dumps(TRAINING)], capture_output=True, check=True
    )
    assert json.loads(done.stdout) == [100] * len(TRAINING)


@pytest.mark.parametrize(
    ("terminal", "rank", "told"), [(True, None, True), (False, None, False), (True, "1", False)]
)
def test_what_takes_the_time_is_seen_in_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, rank: str | None, told: bool
) -> None:
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    out = Console(force_terminal=terminal, file=io.StringIO(), record=True)
    monkeypatch.setattr(common, "console", lambda stderr: out)
    with common.loading() as now:
        now.update("looking at the data ...")
    shown = out.export_text()
    assert shown.endswith("looking at the data ...\n") if told else shown == ""


IMPORTS = {
    # for the first time from the middle of one of our own modules
    "hybridnas, then timm": "import hybridnas.network, timm",
    "timm, then hybridnas": "import timm, hybridnas",
    "hybridnas twice, as notebooks do": "import hybridnas, importlib\n"
    "importlib.reload(hybridnas)\nimport timm",
}


# PyTorch once, which takes longer than all the others: each order in a process forked from there.
IN_EACH_ORDER = """
import json, os, sys
import torch
for order in json.loads(sys.argv[1]):
    if not (child := os.fork()):
        exec(order)
        assert timm.create_model("hybridnas_mambaout_femto").num_classes == 1000
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, order
"""


@pytest.mark.slow
def test_timm_knows_our_models_in_whichever_order_both_are_imported() -> None:
    orders = json.dumps([*IMPORTS.values()])
    subprocess.run([sys.executable, "-c", IN_EACH_ORDER, orders], check=True)
