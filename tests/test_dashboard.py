"""The Optuna dashboard on a study of ours, asked over HTTP as its page asks."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import search_helpers as helpers

from hybridnas.dashboard import make_dashboard
from hybridnas.errors import ConfigError
from hybridnas.search.core import SearchCore
from hybridnas.search.view import StudyView
from hybridnas.store import Store


class Site:
    """A dashboard that serves a study with two bounds, 5 of its 6 trials done, one failed."""

    def __init__(self, store: Store) -> None:
        bounds = {"macs": {"max": 1e6}, "params": {"min": 10}}
        self.core: SearchCore = helpers.start(helpers.plan(constraints=bounds), store)
        for number in range(5):
            changes = helpers.FAILED if number == 4 else {}
            helpers.finish(self.core, helpers.asked(self.core), **changes)
        self.server = make_dashboard(store, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)


@pytest.fixture
def site(study_store: Store) -> Iterator[Site]:
    made = Site(study_store)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_the_study_is_listed_and_its_objectives_go_by_name(site: Site) -> None:
    (listed,) = site.get("/api/studies")["study_summaries"]
    assert listed["study_name"] == "shapes"
    assert listed["directions"] == ["maximize", "minimize"]
    found = site.get(f"/api/studies/{listed['study_id']}")
    assert found["name"] == "shapes"
    assert found["objective_names"] == ["top1", "macs"]
    assert found["directions"] == ["maximize", "minimize"]
    assert found["is_preferential"] is False


def trials_of(site: Site) -> list[dict[str, Any]]:
    (listed,) = site.get("/api/studies")["study_summaries"]
    trials: list[dict[str, Any]] = site.get(f"/api/studies/{listed['study_id']}")["trials"]
    return trials


def test_trials_show_their_architecture_in_words(site: Site, study_store: Store) -> None:
    trials = trials_of(site)
    assert [trial["state"] for trial in trials] == ["Complete"] * 4 + ["Fail"]
    for trial, row in zip(trials, StudyView("shapes", study_store).rows, strict=True):
        notes = {item["key"]: item["value"].strip('"') for item in trial["user_attrs"]}
        assert notes["arch stage 1"] == row.architecture.describe()[0]
        assert notes["arch"] == row.architecture.short
        assert notes["arch digest"] == row.architecture.digest
        if row.state == "ok":
            assert trial["values"] == [row.value("top1"), row.value("macs")]
        else:
            assert (notes["reason"], notes["message"]) == ("out_of_memory", "no room")


def test_every_trial_shows_its_constraints_as_kept(site: Site) -> None:
    for trial in trials_of(site):
        over, under = trial["constraints"]  # macs - max, min - params
        notes = {item["key"]: item["value"] for item in trial["user_attrs"]}
        assert over == float(notes["macs"]) - 1e6 <= 0
        assert under == 10 - float(notes["params"]) <= 0


def test_the_front_is_ours(site: Site, study_store: Store) -> None:
    (listed,) = site.get("/api/studies")["study_summaries"]
    best = site.get(f"/api/studies/{listed['study_id']}")["best_trials"]
    front = StudyView("shapes", study_store).front()
    assert {trial["number"] for trial in best} == {row.number for row in front}
    assert front


def test_a_running_search_is_followed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # The dashboard looks at the database at most every two seconds.
    monkeypatch.setattr("optuna_dashboard._storage.timedelta", lambda seconds: timedelta(0))
    assert len(trials_of(site)) == 5
    candidate = helpers.asked(site.core)
    assert [trial["state"] for trial in trials_of(site)][-1] == "Running"
    helpers.finish(site.core, candidate)
    assert [trial["state"] for trial in trials_of(site)][-1] == "Complete"


def test_the_page_itself_and_what_is_not_there(site: Site) -> None:
    with urllib.request.urlopen(f"{site.url}/dashboard/", timeout=30) as answer:
        assert b"Optuna Dashboard" in answer.read()
    with pytest.raises(urllib.error.HTTPError) as caught:
        site.get("/api/studies/99")
    assert caught.value.code == 404
    caught.value.close()


def test_a_port_or_host_that_cannot_be_had(study_store: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port} \(.*in use"):
            make_dashboard(study_store, "127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"cannot listen on nowhere\.invalid:0 \("):
        make_dashboard(study_store, "nowhere.invalid", 0)
