"""A survey as a table for a terminal and as a page for a browser.

Rows are parts of files, columns kinds of damage; a cell says how many of its samples no load noticed, were
noticed, did no harm.  Left out: colour.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from faultkit.damage.survey import OUTCOMES

if TYPE_CHECKING:
    from faultkit.damage.survey import Case, Survey

__all__ = ["as_html", "as_text", "cell_text"]

WIDTH = 110
EXAMPLES_SHOWN = 12


def as_text(survey: Survey, width: int | None = None) -> str:
    """The table, what its words mean, and the damage that went unnoticed."""
    width = width or WIDTH
    ranks = f"{survey.world} rank{'s' * (survey.world != 1)}"
    parts = [f"{survey.scenario} saved by {ranks}, torch {survey.torch}: {len(survey.cases)} damages", ""]
    rows = [["", *survey.actions]]
    for kind in survey.kinds:
        rows.append([kind, *(cell_text(survey.cell(kind, action)) for action in survey.actions)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        line = "  ".join(text.ljust(size) for text, size in zip(row, widths, strict=True)).rstrip()
        parts += [line, "─" * sum(widths, 2 * len(widths) - 2)] if number == 0 else [line]
    parts.append("")
    for case in _examples(survey):
        parts += textwrap.wrap(f"{case.outcome}: {case.damage}", width, subsequent_indent="  ")
        if case.detail:
            parts += textwrap.wrap(
                f"{case.judgement.verdict}: {case.detail}", width, initial_indent="  ", subsequent_indent="  ",
                max_lines=3, placeholder=" ...",
            )  # fmt: skip
    if survey.silent or not survey.held:
        parts.append("")
    for word, count in survey.totals.items():
        parts.append(f"{word:<9}{count:>4}  {OUTCOMES[word][0]}")
    parts.append(f"{len(survey.cases)} damages, {survey.seconds:.1f} s, seed {survey.seed}")
    return "\n".join(parts)


def cell_text(cases: tuple[Case, ...]) -> str:
    """``"2 WRONG, 1 noticed"``, worst first; "·" where there is nothing to damage."""
    counts = {word: sum(case.outcome == word for case in cases) for word in OUTCOMES}
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "·"


def _examples(survey: Survey) -> list[Case]:
    """The first of each cell that a load did not survive or notice, worst first."""
    worst = sorted(
        (case for case in survey.cases if case.outcome not in ("noticed", "harmless")),
        key=lambda case: list(OUTCOMES).index(case.outcome),
    )
    first = {(case.outcome, case.damage.kind, case.damage.action): case for case in reversed(worst)}
    return [case for case in worst if case in first.values()][:EXAMPLES_SHOWN]


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>damage: {{ survey.scenario }}</title>
<style>
:root{--g:#8883;--w:#b3261e;--n:#2e7d32;--h:#777}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse}td,th{padding:.35rem .7rem;text-align:left;border-bottom:1px solid var(--g)}
.WRONG,.HUNG,.DIED{color:#fff;background:var(--w);padding:0 .4em;border-radius:.3em}
.noticed{color:var(--n)}.harmless{color:var(--h)}
code{font-size:.9em}.cases td{vertical-align:top}
</style>
<h1>Damage to a finished checkpoint</h1>
<p>{{ survey.scenario }}, saved by {{ survey.world }} rank{{ "" if survey.world == 1 else "s" }}, torch
{{ survey.torch }}: {{ survey.cases | length }} damages, seed {{ survey.seed }}.</p>
<table><tr><th>part of the file{% for action in survey.actions %}<th>{{ action }}{% endfor %}</tr>
{% for kind in survey.kinds %}<tr><th title="{{ kinds.get(kind, '') }}">{{ kind }}
{% for action in survey.actions %}<td>{% for word, count in cell(kind, action) %}
<span class="{{ word }}">{{ count }} {{ word }}</span> {% else %}·{% endfor %}{% endfor %}</tr>
{% endfor %}</table>
<p>{% for word, (meaning, _) in outcomes.items() %}<span class="{{ word }}">{{ word }}</span>: {{ meaning }}.
{% endfor %}</p>
<h2>Every damage</h2>
<table class="cases"><tr><th>outcome<th>damage<th>what the load made of it</tr>
{% for case in survey.cases %}<tr><td><span class="{{ case.outcome }}">{{ case.outcome }}</span>
<td><code>{{ case.damage }}</code><td>{{ case.judgement.verdict }}{{ ": " + case.detail if case.detail else "" }}</tr>
{% endfor %}</table></html>
"""


def as_html(survey: Survey) -> str:
    """The table and every damage as one page, complete in itself."""
    import jinja2

    from faultkit.damage.regions import KINDS

    def cell(kind: str, action: str) -> list[tuple[str, int]]:
        cases = survey.cell(kind, action)
        counts = [(word, sum(case.outcome == word for case in cases)) for word in OUTCOMES]
        return [(word, count) for word, count in counts if count]

    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(PAGE)
    return page.render(survey=survey, kinds=KINDS, outcomes=OUTCOMES, cell=cell) + "\n"
