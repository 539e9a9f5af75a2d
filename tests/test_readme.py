"""README's table is what `rounds run tiny` printed: rendered again from the recorded report.

`ROUNDS_PASTE=1 pytest tests/test_readme.py` pastes it after a new report was recorded.
"""

from __future__ import annotations

import os
from pathlib import Path

from rounds.cli.run import verdict_table
from rounds.files import read_json
from rounds.records import Report

ROOT = Path(__file__).parent.parent
RECORDED = ROOT / "benchmarks" / "tiny" / "report.json"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->"


def test_the_table_is_the_recorded_one() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    head, rest = readme.split(BEGIN)
    shown, tail = rest.split(END)
    lines = verdict_table(read_json(RECORDED, Report))
    wanted = "```\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"
    if os.environ.get("ROUNDS_PASTE"):
        (ROOT / "README.md").write_text(head + BEGIN + wanted + END + tail, encoding="utf-8")
        return
    assert shown == wanted
