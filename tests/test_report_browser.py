"""A report in a browser: it fits its window, nothing of a picture is cut off, its links lead on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hybridnas.report import facts_of, write_report
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers", "report_helpers"]

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium on the PATH"),
]
LOOK = """<script>
document.querySelectorAll('details').forEach(part => part.open = true)
const outside = text => {
  const box = text.getBBox(), view = text.ownerSVGElement.viewBox.baseVal
  return box.x < -1 || box.y < -1 || box.x + box.width > view.width + 1 ||
    box.y + box.height > view.height + 1
}
const texts = [...document.querySelectorAll('svg text')]
document.title = JSON.stringify({
  wide: document.documentElement.scrollWidth - window.innerWidth,
  cut: texts.filter(outside).map(text => text.textContent),
  texts: texts.length,
  loaded: performance.getEntriesByType('resource').length,
  dead: [...document.querySelectorAll('nav a')].map(link => link.getAttribute('href'))
    .filter(where => !document.querySelector(where)),
})
</script>"""


def looked_at(page: Path, width: int) -> dict[str, Any]:
    """What a browser makes of a page in a window of that width."""
    assert BROWSER is not None
    watched = page.with_name("watched.html")
    watched.write_text(page.read_text().replace("</body>", f"{LOOK}</body>"))
    settings = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    more = (f"--window-size={width},2000", f"--user-data-dir={page.parent / 'profile'}")
    command = [BROWSER, *settings, *more, "--dump-dom", watched.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search("<title>(.*?)</title>", done.stdout)
    assert found is not None
    told: dict[str, Any] = json.loads(found[1])
    return told


@pytest.mark.parametrize("study", ["plain", "rich", "both"])
@pytest.mark.parametrize("width", [1100, 600])
def test_a_page_fits_its_window(reported: Store, tmp_path: Path, study: str, width: int) -> None:
    view, page = StudyView(study, reported), tmp_path / "report.html"
    write_report(view, facts_of(view), page)
    told = looked_at(page, width)
    assert told.pop("texts") > 100
    assert told == {"wide": 0, "cut": [], "loaded": 0, "dead": []}
