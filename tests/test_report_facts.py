"""Every fact of a report is what the database holds, by queries of its own."""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from report_helpers import CALIBRATED, SPOILT, Page
from scipy.stats import norm, ttest_ind

from hybridnas.report import facts_of
from hybridnas.report.render import drawings_of, to_html
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers", "report_helpers"]

STUDIES = pytest.mark.parametrize("study", ["plain", "rich"])


@pytest.fixture
def rows(reported_file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(reported_file)
    yield connection
    connection.close()


def results(rows: sqlite3.Connection, study: str, repeats: bool = False) -> dict[int, list[Any]]:
    """Metrics of what ended well at the top rung, by trial."""
    found: dict[int, list[Any]] = {}
    top = 1 if study == "rich" else 0
    for number, metrics in rows.execute(
        "SELECT r.number, e.metrics FROM nas_run r JOIN nas_evaluation e ON e.id = r.evaluation_id "
        "WHERE r.study = ? AND r.rung = ? AND (r.repeat > 0) = ? AND e.status = 'ok' "
        "ORDER BY r.number, r.repeat",
        (study, top, repeats),
    ):
        found.setdefault(number, []).append(json.loads(metrics))
    return found


@STUDIES
def test_counts_and_costs(reported: Store, rows: sqlite3.Connection, study: str) -> None:
    facts = facts_of(StudyView(study, reported))

    def one(query: str) -> Any:
        return rows.execute(query, (study,)).fetchone()[0]

    joined = "FROM nas_run r JOIN nas_evaluation e ON e.id = r.evaluation_id WHERE r.study = ?"
    assert sum(facts.trials.values()) == one("SELECT count(*) FROM nas_trial WHERE study = ?")
    assert facts.runs == one("SELECT count(*) FROM nas_run WHERE study = ?")
    assert facts.reused == one("SELECT sum(reused) FROM nas_run WHERE study = ?")
    assert (facts.reused > 0) == (study == "rich")
    trained = one(f"SELECT count(*) {joined} AND NOT r.reused")
    assert facts.cost_so_far.trainings == trained
    seconds = one(f"SELECT sum(json_extract(e.timing, '$.gpu_s')) {joined} AND NOT r.reused")
    assert facts.cost_so_far.gpu_hours == pytest.approx(seconds / 3600)
    assert sum(rung.gpu_hours for rung in facts.rungs) == pytest.approx(seconds / 3600)
    assert sum(rung.began for rung in facts.rungs) == facts.runs
    failed = one(f"SELECT count(*) {joined} AND e.status = 'failed'")
    (failure,) = facts.failures
    assert (failure.number, failure.reason, failure.message) == (failed, "out_of_memory", SPOILT)
    assert sum(rung.failed for rung in facts.rungs) == failed
    assert facts.proposals == one("SELECT sum(proposals) FROM nas_session WHERE study = ?") == 47
    assert facts.redrawn == one("SELECT sum(redrawn) FROM nas_session WHERE study = ?") == 5
    (software,) = facts.software
    assert (software.evaluations, software.hosts) == (trained, ("node1",))
    protocols = one("SELECT count(DISTINCT protocol_digest) FROM nas_run WHERE study = ?")
    assert sum(len(protocol.digests) for protocol in facts.protocols) == protocols
    images = one(f"SELECT max(json_extract(e.metrics, '$.num_images')) {joined}")
    assert {protocol.num_images for protocol in facts.protocols} == {images}
    assert {protocol.train_images for protocol in facts.protocols} == {1280}
    hours = facts.cost_so_far.wall_hours
    ended = [n for n, state in facts.trials.items() if n in ("ok", "failed", "pruned") and state]
    known = one(
        "SELECT count(*) FROM (SELECT number FROM nas_run WHERE study = ? GROUP BY number "
        "HAVING min(reused) = 1)"
    )
    number = sum(facts.trials[state] for state in ended) - known
    assert facts.cost_so_far.candidates_per_hour == pytest.approx(number / hours)


def dominated(mine: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    return any(o != mine and o[0] >= mine[0] and o[1] <= mine[1] for o in others)


def test_the_front_of_one_training_each(reported: Store, rows: sqlite3.Connection) -> None:
    facts = facts_of(StudyView("plain", reported))
    found = {n: (m[0]["top1"], m[0]["macs"]) for n, m in results(rows, "plain").items()}
    front = [n for n, mine in found.items() if not dominated(mine, [*found.values()])]
    assert facts.results == len(found)
    assert [m.trial for m in facts.front] == sorted(front, key=lambda n: found[n][1])
    errors = {n: m[0]["top1_se"] for n, m in results(rows, "plain").items()}
    for member in facts.front:
        assert (member.values["top1"], member.values["macs"]) == found[member.trial]
        assert member.errors == {"top1": errors[member.trial]}
    first, second, *_ = sorted(found, key=lambda n: -found[n][0])
    assert facts.leader is not None
    assert (facts.leader.trial, facts.leader.runner_up) == (first, second)
    assert facts.leader.gap == pytest.approx(found[first][0] - found[second][0])
    together = (errors[first] ** 2 + errors[second] ** 2) ** 0.5
    leader = facts.leader
    assert leader.gap is not None
    half = norm.isf(0.025) * together
    assert leader.gap_low == pytest.approx(leader.gap - half)
    assert leader.gap_high == pytest.approx(leader.gap + half)
    kinds = Counter(candidate.kind for candidate in facts.candidates)
    assert kinds == {"front": len(front), "dominated": len(found) - len(front)}
    # The area under the steps, up to the dearest and to a tenth below the worst of the first ten.
    steps = sorted((found[n][1], found[n][0]) for n in front)
    dearest = max(macs for _, macs in found.values())
    edges = [*(macs for macs, _ in steps[1:]), dearest]
    early = [found[n][0] for n in sorted(found)[:10]]
    low = min(early) - 0.1 * (max(early) - min(early))
    heights = (max(0.0, top1 - low) for _, top1 in steps)
    widths = (edge - macs for (macs, _), edge in zip(steps, edges, strict=True))
    share = sum(map(math.prod, zip(widths, heights, strict=True))) / (dearest * (1 - low))
    assert facts.reference == {"top1": pytest.approx(low), "macs": dearest}
    assert facts.hypervolume == pytest.approx(share)
    assert facts.moments[-1].hypervolume == pytest.approx(share)
    assert facts.moments[-1].trainings == max(
        i for i, run in enumerate(StudyView("plain", reported).rows, 1) if run.state == "ok"
    )


def test_the_front_of_the_retrained(reported: Store, rows: sqlite3.Connection) -> None:
    facts = facts_of(StudyView("rich", reported))
    again = results(rows, "rich", repeats=True)
    means = {n: (fmean(m["top1"] for m in ms), ms[0]["macs"]) for n, ms in again.items()}
    assert facts.retrained == len(means) == 3
    assert facts.error_kind == "standard_deviation"
    kept = [mine for mine in means.values() if mine[0] >= 0.8]
    front = [n for n, m in means.items() if m[0] >= 0.8 and not dominated(m, kept)]
    assert {member.trial for member in facts.front} == set(front)
    for member in facts.front:
        scores = [m["top1"] for m in again[member.trial]]
        assert member.values["top1"] == pytest.approx(fmean(scores))
        assert member.seeds == len(scores)
        assert member.errors.get("top1") == (
            stdev(scores) if len(scores) > 1 else member.errors.get("top1")
        )
    best, second = sorted(kept, reverse=True)[:2]
    pairs = ([m["top1"] for m in again[n]] for n, mine in means.items() if mine in (best, second))
    found = ttest_ind(*pairs, equal_var=False)
    ends = found.confidence_interval(0.95)
    low, high = sorted(math.copysign(1, found.statistic) * end for end in ends)
    assert facts.leader is not None
    assert facts.leader.gap == pytest.approx(best[0] - second[0])
    assert facts.leader.gap_low == pytest.approx(low)
    assert facts.leader.gap_high == pytest.approx(high)
    first = results(rows, "rich")
    broken = [n for n, m in first.items() if (means.get(n) or (m[0]["top1"],))[0] < 0.8]
    assert facts.infeasible == len(broken) > 0
    assert {c.trial for c in facts.candidates if c.kind == "infeasible"} == set(broken)


def test_mixers_by_stage(reported: Store, rows: sqlite3.Connection) -> None:
    facts = facts_of(StudyView("plain", reported))
    texts = dict(rows.execute("SELECT digest, json FROM nas_architecture"))
    totals: Counter[tuple[int, str]] = Counter()
    for member in facts.front:
        for i, stage in enumerate(json.loads(texts[member.arch])["stages"], 1):
            blocks = stage["blocks"]
            for block in blocks:
                mixer = block["mixer"]
                name = mixer if isinstance(mixer, str) else mixer["name"]
                share = block.get("repeat", 1) / sum(b.get("repeat", 1) for b in blocks)
                totals[i, name] += share / len(facts.front)
    for cell in facts.mixers:
        assert cell.front == pytest.approx(totals[cell.stage, cell.mixer])


def test_who_has_a_mixer_in_a_stage(reported: Store, rows: sqlite3.Connection) -> None:
    facts, good = facts_of(StudyView("plain", reported)), results(rows, "plain")
    texts = {
        number: json.loads(text)["stages"]
        for number, text in rows.execute(
            "SELECT t.number, a.json FROM nas_trial t JOIN nas_architecture a "
            "ON a.digest = t.architecture_digest WHERE t.study = 'plain'"
        )
    }
    members = {member.trial for member in facts.front}
    assert sum(cell.front_with for cell in facts.mixers) >= 2 * len(members)
    for cell in facts.mixers:
        having = {n for n in good if f'"{cell.mixer}"' in json.dumps(texts[n][cell.stage - 1])}
        assert cell.results_with == len(having)
        assert cell.front_with == len(having & members)
    tops = {
        stage: max(cell.front_with for cell in facts.mixers if cell.stage == stage)
        for stage in (1, 2)
    }
    pictures = drawings_of(facts) | {f"trial-{number}": "" for number in members}
    (said,) = (line for line in Page(to_html(facts, pictures)).lines if "no effect:" in line)
    for stage, top in tops.items():
        assert re.search(rf" {top} of {len(members)} have \w+ in stage {stage} \(", said)


def test_calibrations(reported: Store) -> None:
    (found,) = facts_of(StudyView("plain", reported)).calibrations
    assert (found.against, found.longer) == ("16 epochs at 32 px", True)
    assert found.overall is not None
    assert found.overall.model_dump() == CALIBRATED["tau"]["proxy"]["overall"]
    assert found.equal_macs is None
    assert found.params == found.overall
    assert found.macs is not None
    assert found.macs.tau == 0.41
    assert found.counting_ranks_as_well
    less = found.params.model_copy(update={"tau": 0.6})
    assert not found.model_copy(update={"params": less}).counting_ranks_as_well
    assert not found.model_copy(update={"params": None}).counting_ranks_as_well


def test_each_task_of_a_study_has_its_plot_and_its_decisions(
    reported: Store, rows: sqlite3.Connection
) -> None:
    facts = facts_of(StudyView("both", reported))
    assert [each.score for each in facts.decisions] == ["top1", "masks.miou"]
    assert (facts.score, facts.cost) == ("top1", "masks.macs")
    assert {"front-top1", "front-masks.miou"} <= drawings_of(facts).keys()
    assert [(p.task, p.kind, p.runs) for p in facts.protocols] == [
        ("", "classification", 24),
        ("masks", "segmentation", 24),
    ]
    assert [(rung.task, rung.ok) for rung in facts.rungs] == [("", 24), ("masks", 24)]
    query = (
        "SELECT r.number, json_extract(e.metrics, '$.miou'), json_extract(e.metrics, '$.macs') "
        "FROM nas_run r JOIN nas_evaluation e ON e.id = r.evaluation_id "
        "WHERE r.study = 'both' AND r.task = 'masks'"
    )
    want = {number: (macs, miou) for number, miou, macs in rows.execute(query)}
    assert {c.trial: (c.cost, c.scores["masks.miou"]) for c in facts.candidates} == want


def test_where_all_was_known_before_nothing_grows(reported: Store) -> None:
    facts = facts_of(StudyView("plain", reported))
    nothing = {"trainings": 0, "hours": 0.0, "gpu_hours": 0.0}
    moments = tuple(moment.model_copy(update=nothing) for moment in facts.moments)
    known = facts.model_copy(update={"moments": moments})
    drawings = drawings_of(known)
    assert drawings_of(facts).keys() - drawings.keys() == {"hypervolume"}
    members = {f"trial-{member.trial}": "" for member in facts.front}
    assert "How the search went" in to_html(known, drawings | members)
