"""The commands that read a study: `status` and `pareto`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from cli_helpers import Cli, write_study

pytest_plugins = ["cli_helpers"]

# ---------------------------------------------------------------- status


def test_status(populated: Cli) -> None:
    found = populated.json("status", "shapes")
    assert found["trials"] == {"ok": 3, "failed": 1, "running": 1, "queued": 1}
    assert (found["running"], found["queued"]) == ([4], [5])
    assert found["workers"] == {"4": "node7, GPU 3"}
    assert found["failures"] == {"out_of_memory": 1}
    assert found["redrawn_share"] == 0.25
    assert found["best"]["values"].keys() == {"top1", "macs"}
    assert found["fidelity"] == {"epochs": 1, "resolution": 32}
    assert found["cost"]["gpu_hours"] == pytest.approx(4 / 60)
    assert found["sessions"][0]["ended"] is None
    assert found == {**populated.json("status", write_study()), "sessions": found["sessions"]}

    shown = populated.shown("status", "shapes")
    assert "trials 6: 3 ok, 1 failed, 1 running, 1 queued" in shown
    assert "running node7, GPU 3: trial 4\nqueued trial 5\nproposals 8, 25 % repaired" in shown
    assert "failures 1 out_of_memory" in shown
    assert " of the box from top1 0." in shown


def test_status_of_an_empty_study(populated: Cli) -> None:
    found = populated.json("status", "empty")
    assert (found["trials"], found["best"], found["hypervolume"]) == ({}, None, None)
    assert "trials 0: none" in populated.shown("status", "empty")
    assert "best no result yet" in populated.shown("status", "empty")


# ---------------------------------------------------------------- pareto


def test_pareto(populated: Cli) -> None:
    found = populated.json("pareto", "shapes")
    known = {"trial", "arch", "values", "params", "top1_se", "stages"}
    assert found[0].keys() == known | {"seeds", "spread", "reused"}
    macs = [member["values"]["macs"] for member in found]
    top1 = [member["values"]["top1"] for member in found]
    assert macs == sorted(macs)
    assert top1 == sorted(top1)

    table = list(csv.DictReader(io.StringIO(populated("pareto", "shapes", "--csv").out)))
    assert [int(line["trial"]) for line in table] == [member["trial"] for member in found]
    assert [float(line["macs"]) for line in table] == macs

    shown = populated.shown("pareto", "shapes")
    assert f"Pareto front of shapes: {len(found)} of 3 results, MACs at 32 px" in shown
    assert "scores: +- the standard error that comes from the number of validation images" in shown
    assert f"│ {found[0]['trial']} │ {top1[0]:.4f} │ 0.0123 │ " in shown


def test_a_study_without_results_has_no_front(populated: Cli) -> None:
    assert populated.json("pareto", "empty") == []
    shown = populated.shown("pareto", "empty")
    assert shown == "Study empty has no results yet; its trials: none."
    assert "study 'empty' has no results yet" in populated.refused(
        "pareto", "empty", "--plot", "front.svg"
    )


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_a_plot_of_the_front(populated: Cli, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    done = populated("pareto", "shapes", "--json", "--plot", f"front.{suffix}")
    assert (done.code, done.err) == (0, f"written: front.{suffix}\n")
    assert Path(f"front.{suffix}").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("shapes", "--plot", "front.jpg"),
            "--plot takes a file in .svg, .png, .pdf, got 'front.jpg'",
        ),
        (("shapes", "--plot", "no/front.svg"), "--plot: no/front.svg cannot be written (No such"),
        (("shapes", "--json", "--csv"), "give --json or --csv, not both"),
        (("shape",), "no study 'shape' (shapes?) in the database; it has: shapes, empty"),
        (("shape.yaml",), "no file shape.yaml"),
    ],
)
def test_a_bad_pareto_is_refused(populated: Cli, words: tuple[str, ...], message: str) -> None:
    assert message in populated.refused("pareto", *words)


def test_a_study_file_needs_a_name(populated: Cli) -> None:
    Path("nameless.yaml").write_text("space: hybrid\n")
    assert "nameless.yaml: 'name' is missing" in populated.refused("status", "nameless.yaml")
