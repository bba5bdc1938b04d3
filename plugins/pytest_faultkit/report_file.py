"""Writes what all tests ran under which plan: as JSON for ``.json``, else as one page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faultkit.report.output import write_whole

if TYPE_CHECKING:
    import pytest

__all__ = ["write"]

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>faultkit</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem;
color: #1b1b1f; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { border-bottom: 1px solid #ddd;
padding: .35rem .5rem; text-align: left; vertical-align: top } code { font-size: 13px }
.v { border-radius: 3px; color: #fff;
font-weight: 600; font-size: 12px; padding: .1rem .5rem; background: #b3261e } .v.HELD { background: #2e7d32 }
.v.INERT, .v.MASKED, .v.LATE { background: #8a6d00 } p.e { margin: .3rem 0 0; color: #555 }
</style>
<h1>{{ runs | length }} plans</h1>
<p>{% for verdict, count in totals.items() %}
<span class="v {{ verdict }}">{{ verdict }}</span> {{ count }} &ensp;
{% endfor %}</p>
<table><tr><th>verdict<th>test, plan<th>ranks<th>seconds</tr>
{% for run in runs %}<tr><td><span class="v {{ run.verdict }}">{{ run.verdict }}</span><td>{{ run.test }}<br>
<code>{{ run.plan or "no fault" }}</code>{% for v in run.violations %}
<p class="e"><em>{{ v.check }}</em>: {{ v.evidence }}</p>{% endfor %}
<td>{{ run.world }}<td>{{ "%.3f" | format(run.seconds) }}</tr>
{% endfor %}</table></html>
"""


def write(path: Path, reports: Iterable[pytest.TestReport]) -> None:
    """Write the runs of all `reports` to `path`, making its folder where that is missing."""
    runs: list[dict[str, Any]] = [row for report in reports for row in getattr(report, "faultkit_runs", ())]
    totals = dict(Counter(str(run["verdict"]) for run in runs).most_common())
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        write_whole(path, json.dumps({"plans": runs, "totals": totals}, indent=1) + "\n")
        return
    import jinja2

    page = jinja2.Environment(autoescape=True).from_string(PAGE)
    write_whole(path, page.render(runs=runs, totals=totals))
