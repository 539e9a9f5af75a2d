"""What every page that is looked at shares: one static file, one style sheet allowed by its hash, no script.

Left out on purpose: pages that a server answers with (`rounds.exam.label_page`, `rounds.serve`).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from rounds.exam import plots, words

PAGES = Path(__file__).parent / "pages"

EVIDENCE = {
    "synthetic": ("Demonstration, not for patients", "Every case of this exam was invented."),
    "public": ("Public cases", "These cases are public: a model may have seen them, and they are not your patients."),
    "local-reviewed": ("Local cases, reviewed by clinicians", ""),
}


def page(template: str, **given: Any) -> str:
    """One of PAGES filled in: every text escaped, the style sheet inline and allowed by its hash alone."""
    style = (PAGES / "report.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["forest_width"] = plots.FOREST
    environment.filters |= {"percent": words.percent, "points": words.points, "p_value": words.p_value}
    return environment.get_template(template).render(
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        **given,
    )
