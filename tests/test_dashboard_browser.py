"""The dashboard in a browser: what a user sees, without one who looks."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dashboard_helpers import LEAST, searched

from hybridnas.dashboard import Dashboard, make_dashboard
from hybridnas.search.view import StudyView
from hybridnas.store import Store

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium on the PATH"),
]


class Site:
    """A served study, and what a browser makes of its pages."""

    def __init__(self, store: Store, folder: Path) -> None:
        searched(store)
        self.view = StudyView("shapes", store)
        self._folder = folder
        self.server: Dashboard = make_dashboard(store, "127.0.0.1", 0, "sesame")
        self.asked: list[str] = []
        app: Any = self.server.get_app()

        def noted(environ, start):  # type: ignore[no-untyped-def]
            self.asked.append(environ["PATH_INFO"])
            return app(environ, start)

        self.server.set_app(noted)

    def page(self, path: str) -> str:
        """The document of a page once its scripts have run; it is opened with the token."""
        assert BROWSER is not None
        token = f"{'&' if '?' in path else '?'}token=sesame"
        address = f"http://127.0.0.1:{self.server.server_port}/dashboard/{path}{token}"
        # SwiftShader draws with WebGL, which parallel coordinates need, where there is no GPU.
        settings = ("--headless", "--no-sandbox", "--use-angle=swiftshader", "--mute-audio")
        more = ("--enable-unsafe-swiftshader", f"--user-data-dir={self._folder / 'profile'}")
        # Time in the page runs on while nothing is loaded: scripts have thirty seconds of it.
        wait = ("--virtual-time-budget=30000", "--window-size=1500,3300", "--dump-dom")
        command = [BROWSER, *settings, *more, *wait, address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("browser")
    with Store.open(f"sqlite:///{folder / 'studies.db'}") as store:
        site = Site(store, folder)
        thread = threading.Thread(target=site.server.serve_forever)
        thread.start()
        yield site
        site.server.shutdown()
        thread.join()
        site.server.server_close()


def points(page: str, plot: str) -> Counter[str]:
    """How many points a plot has, by their colour."""
    part = page[page.index(f'id="{plot}"') :]
    part = part[: part.index("modebar-container")]
    found = re.findall(r'<path class="point[^>]*?fill: (rgb\([^)]*\))', part)
    return Counter(found)


def test_the_study_page(browsed: Site) -> None:
    page = browsed.page("studies/1")
    assert "shapes" in page
    broken = [row for row in browsed.view.finished if row.value("top1") < LEAST]
    # The dashboard's own plot of the front: those that break a constraint are grey.
    colours = points(page, "graph-pareto-front")
    assert colours["rgb(204, 204, 204)"] == len(broken) > 0
    assert sum(colours.values()) == len(browsed.view.finished)
    ours = points(page, "user-defined-plot:front")
    assert ours["rgb(0, 114, 178)"] == len(browsed.view.front())
    assert f"infeasible (top1 at least {LEAST:.4f})" in page
    for words in ("minutes of search", "GPU-hours", "The front's members, stage by stage"):
        assert words in page
    best = page[page.index("Best Trials") :]
    listed = {int(number) for number in re.findall(r"Trial (\d+)", best)}
    assert listed == {row.number for row in browsed.view.front()}


def test_a_trial_page_with_its_pictures(browsed: Site) -> None:
    number = browsed.view.front()[0].number
    page = browsed.page(f"studies/1/trials?numbers={number}")
    assert "On the Pareto front: " in page
    for name in ("architecture.svg", "training.svg", "stages.csv"):
        assert name in page
    picture = f"/artifacts/1/{number + 1}/1-{number:x}-0"
    assert re.search(rf'<img [^>]*src="{picture}"', page)
    assert picture in browsed.asked


def test_the_note_page(browsed: Site) -> None:
    page = browsed.page("studies/1/note")
    for row in browsed.view.front():
        assert f'href="/dashboard/studies/1/trials?numbers={row.number}"' in page
        assert f"{row.value('top1'):.4f} ± 0.0100" in page
