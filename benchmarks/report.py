"""The page of a run: how large it is, how long it takes to make, and what axe-core finds in it.

    python benchmarks/report.py runs/tiny

Needs Debian's chromium, playwright and axe-playwright-python. The run is read and not written to.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from rounds.cli import report as report_verb
from rounds.files import read_json
from rounds.records import Report

SIZES = ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"))


def main() -> int:
    run = Path(sys.argv[1])
    found = read_json(run / "report.json", Report)
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "report.html"
        started = time.monotonic()
        report_verb.write_page(run, page)
        print(f"{run}: {len(found.models)} models, {page.stat().st_size:,} bytes, {time.monotonic() - started:.1f} s")
        for width, scheme in SIZES:
            print(f"{width} px, {scheme}: {looked_at(page, width, scheme)}")
    return 0


def looked_at(page: Path, width: int, scheme: str) -> str:
    """Violations and passes of axe-core, and whether the page is wider than the window."""
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    axe = (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        tab.goto(page.resolve().as_uri())
        tab.evaluate(axe)
        result = tab.evaluate("axe.run()")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        browser.close()
    broken = [fault["id"] for fault in result["violations"]]
    return f"axe-core {len(broken)} violations {broken or ''}, {len(result['passes'])} rules passed, {wide} px wide"


if __name__ == "__main__":
    raise SystemExit(main())
