"""Taking the studies of another database in, between all kinds of databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from cli_helpers import Cli
from search_helpers import SIX, drive, optuna_trials, plan, start
from store_studies import WIDE, essence, fill, of_optuna, rows

from hybridnas.errors import StoreError
from hybridnas.store import Merged, Store, optuna_studies

pytest_plugins = ["store_databases", "cli_helpers"]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'source.db'}") as opened:
        fill(opened)
        yield opened


def test_all_of_it_arrives(url: str, source: Store) -> None:
    with Store.open(url) as target:
        drive(start(plan(name="own", space=SIX), target))
        before = rows(target)
        found = target.merge(source)
        assert found == Merged(
            studies=("second", "shapes"), known_studies=(), evaluations=5, known_evaluations=0
        )
        # Both were made under the same protocol, and have it once.
        there = {**rows(source), "nas_protocol": 0}
        assert {t: n - before[t] for t, n in rows(target).items()} == there
        for study in ("shapes", "second"):
            assert essence(target, study) == essence(source, study)
            assert of_optuna(target, study) == of_optuna(source, study)
            assert target.study_config(study) == source.study_config(study)
            mine, theirs = (
                optuna.load_study(study_name=study, storage=s.optuna_storage())
                for s in (target, source)
            )
            assert mine.directions == theirs.directions
            assert mine.metric_names == theirs.metric_names
        assert [f.members for f in target.fronts("shapes")] == [[{"trial": 1}]]
        leases = {r.token for r in source.trials("second")}
        assert leases.isdisjoint(r.token for r in target.trials("second"))


def test_a_second_time_changes_nothing(url: str, source: Store, tmp_path: Path) -> None:
    with Store.open(url) as target:
        target.merge(source, {"shapes": "theirs"})
        before = rows(target)
        again = target.merge(source, {"shapes": "theirs"})
        assert again == Merged(
            studies=(), known_studies=("second", "theirs"), evaluations=0, known_evaluations=5
        )
        assert rows(target) == before
        with Store.open(
            f"sqlite:///{Path(source.url.removeprefix('sqlite:///')).parent}/b.db"
        ) as b:
            b.merge(target)
            assert essence(b, "theirs") == essence(source, "shapes"), "and from any kind"


def test_it_goes_on_here_and_is_looked_up(url: str, source: Store) -> None:
    with Store.open(url) as target:
        target.merge(source)
        core = start(plan(name="second", **{**WIDE, "budget": {"trials": 7}}), target)
        assert [c.number for c in drive(core)] == [0, 5, 6]
        assert {t.state.name for t in optuna_trials(target, "second")} == {"COMPLETE"}
        assert len(optuna_trials(target, "second")) == 7
        third = start(plan(name="third", **WIDE), target)
        assert drive(third) == [], "all of it is known here now"


def test_a_clash_is_told_and_nothing_is_taken(url: str, source: Store) -> None:
    with Store.open(url) as target:
        drive(start(plan(name="second", space=SIX), target))
        before = rows(target)
        with pytest.raises(StoreError, match=r"another study 'second'.*--rename second=NAME"):
            target.merge(source)
        with pytest.raises(StoreError, match="two studies would be called 'shapes'"):
            target.merge(source, {"second": "shapes"})
        with pytest.raises(StoreError, match="no study 'third'; it has: second, shapes"):
            target.merge(source, {"third": "x"})
        optuna.create_study(storage=target.optuna_storage(), study_name="theirs")
        with pytest.raises(StoreError, match="another study 'theirs'"):
            target.merge(source, {"second": "theirs"})
        assert rows(target) == before
        assert target.merge(source, {"second": "other"}).studies == ("other", "shapes")
        assert target.study_config("other") == {**plan(**WIDE).config, "name": "other"}


def test_nothing_is_half_written(url: str, source: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        raise StoreError("the disk is full")

    with Store.open(url) as target:
        monkeypatch.setattr(optuna_studies, "copy_study", dies)
        with pytest.raises(StoreError, match="disk is full"):
            target.merge(source)
        assert set(rows(target).values()) == {0}


def test_what_runs_is_left_alone(source: Store, tmp_path: Path) -> None:
    session = source.begin_session("shapes")
    with Store.open(f"sqlite:///{tmp_path / 'target.db'}") as target:
        with pytest.raises(StoreError, match="'shapes' of the other database is being searched"):
            target.merge(source)
        source.end_session(session, "trials")
        target.merge(source)
        assert [s.end_reason for s in target.sessions("shapes")] == ["trials", "trials"]
        with pytest.raises(StoreError, match="into itself"):
            target.merge(target)


def test_the_command(source: Store, cli: Cli) -> None:
    found = cli.shown("db", "merge", source.url, "--rename", "second=theirs")
    assert "studies taken in theirs, shapes" in found
    assert "evaluations taken in 5" in found
    again = cli.json("db", "merge", source.url, "--rename", "second=theirs")
    assert again["known_studies"] == ["theirs", "shapes"]
    assert "OLD=NEW" in cli.refused("db", "merge", source.url, "--rename", "second=a b")
    assert "no database at" in cli.refused("db", "merge", "sqlite:///none.db")
