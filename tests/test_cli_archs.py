"""`hybridnas archs`: the reference architectures, and how an architecture looks."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from cli_helpers import Cli
from test_export_card import HYBRID

from hybridnas.architecture import Architecture
from hybridnas.cli.archs import reference_page
from hybridnas.cost import cost
from hybridnas.reference import REFERENCES, reference

pytest_plugins = ["cli_helpers"]


def test_they_are_listed(cli: Cli) -> None:
    found = cli.json("archs")
    assert [each["name"] for each in found] == list(REFERENCES)
    assert found[0]["arch"] == reference("mambaout_femto").digest
    (tiny,) = (each for each in found if each["name"] == "vmamba_tiny_s2l5")
    assert (tiny["box_ap"], tiny["seg_macs_g"], tiny["stages"]) == (47.4, 948, "S2-S2-S5-S2")
    shown = cli.shown("archs")
    assert "│ mambaout_tiny │ MambaOut │ G3-G3-G9-G3 │ 26.5 │ 4.5 │ 82.7 │" in shown
    assert "│ mambavision_small │ MambaVision │ C3-C3-S4A3-S3A2 │ 50.1 │ 7.5 │ 83.3 │" in shown


def test_the_reference_page(cli: Cli) -> None:
    page = cli("archs", "--markdown").out
    assert page == reference_page()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == len(REFERENCES)
    (tiny,) = (row for row in rows if row.startswith("| `mambaout_tiny`"))
    for words in ("26.5 / 26.545", "4.5 / 4.486", "262 / 262.4", "938 / 938.2", "45.1 / 41"):
        assert f"| {words} |" in tiny


def test_one_is_shown_and_read_again(cli: Cli) -> None:
    for name in ("mambaout_femto", "mambavision_tiny", "localvmamba_tiny", "vim_tiny"):
        document = cli.json("archs", "show", name)
        assert Architecture.from_dict(document) == reference(name)
        Path("mine.json").write_text(json.dumps(document))
        assert cli.shown("archs", "show", "mine.json").startswith("mine.json: ")
    shown = cli.shown("archs", "show", "mambavision_tiny")
    assert "stage 3: width 320, windows of 14: 4 x ssm" in shown


def test_one_is_drawn(populated: Cli) -> None:
    Path("mine.json").write_text(HYBRID.to_json())
    for arch, size in (("mine.json", 224), ("shapes:0", 32)):
        text = populated("archs", "show", arch, "--svg", "-").out
        title = ET.fromstring(text).findtext("{http://www.w3.org/2000/svg}title") or ""
        assert title.startswith(f"{arch}: ")
        assert title.endswith(f" MACs at {size} px")
        assert populated("archs", "show", arch, "--svg", "a.svg").out == ""
        assert Path("a.svg").read_text() == text
    message = populated.refused("archs", "show", "mine.json", "--svg", "no/a.svg")
    assert message == "--svg: no/a.svg cannot be written (No such file or directory)"


def test_costs_of_dense_tasks(cli: Cli) -> None:
    for task, size in (("segmentation", [512, 2048]), ("detection", [800, 1280])):
        found = cli.json("cost", "convnext_tiny", "--task", task)
        known = cost(reference("convnext_tiny"), task=task)
        assert (found["input_size"], found["macs"]) == (size, known.macs)
        assert found["head"]["macs"] == known.head.macs > 1e11
    shown = cli.shown("cost", "convnext_tiny", "--task", "segmentation", "--input-size", "512")
    assert "convnext_tiny at 512 x 512 px, 150 classes, with UperNet" in shown


def test_two_documents_at_once_are_refused(cli: Cli) -> None:
    message = "--json and --markdown are two documents: ask for one of them"
    assert message in cli.refused("archs", "--json", "--markdown")
    message = "--json and --svg are two documents: ask for one of them"
    assert message in cli.refused("archs", "show", "vim_tiny", "--json", "--svg", "a.svg")
