"""The page of an exploration of crashes: counts of each model, then every finding with its story.

One HTML file without anything from outside, which works without scripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    from faultkit.crash import Exploration

__all__ = ["as_html"]

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>crashes: {{ found.scenario }}</title>
<style>
:root{--g:#8883;--b:#b3261e;--n:#2e7d32}
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}
table{border-collapse:collapse}td,th{padding:.35rem .7rem;text-align:left;border-bottom:1px solid var(--g);
vertical-align:top}
.bad{color:#fff;background:var(--b);padding:0 .4em;border-radius:.3em}.good{color:var(--n)}
code,pre{font-size:.9em}pre{white-space:pre-wrap;background:var(--g);padding:.6rem;border-radius:.4em}
</style>
<h1>{{ found.findings | length }} violation{{ "" if found.findings | length == 1 else "s" }}</h1>
<p>{{ found.scenario }}, {{ found.world }} rank{{ "" if found.world == 1 else "s" }}, seed {{ found.seed }},
{{ "%.1f" | format(found.seconds) }} s.</p>
<table><tr><th>model<th>explored<th>distinct<th>loaded<th>skipped<th>complete<th>verdicts<th>bound</tr>
{% for count in found.counts %}<tr><td>{{ count.model }}<td>{{ count.explored }}<td>{{ count.distinct }}
<td>{{ count.loaded }}<td>{{ count.skipped }}<td>{{ "yes" if count.complete else "no" }}
<td>{% for word, number in count.verdicts | dictsort %}{{ number }} {{ word }}{{ "" if loop.last else ", " }}
{% endfor %}<td>{{ count.bound }}</tr>
{% endfor %}</table>
{% for finding in found.findings %}
<h2 id="finding-{{ loop.index }}"><span class="bad">{{ finding.verdict }}</span> {{ finding.at }}</h2>
<p>Allowed: {{ finding.allowed | join(" or ") }}. {{ finding.state_count }} states, models
{{ finding.models | join(", ") }}.</p>
{% if finding.lost %}<p>Lost:</p><ul>{% for lost in finding.lost %}<li><code>{{ lost }}</code>{% endfor %}</ul>
{% endif %}<p>{{ finding.detail }}</p>
{% if finding.where %}<pre>{{ finding.where | join("\n") }}</pre>{% endif %}
<details><summary>the files of this state</summary><table><tr><th>path<th>bytes</tr>
{% for path, content in finding.state.tree | dictsort %}<tr><td><code>{{ path }}</code>
<td>{{ "directory" if content is none else content | length }}</tr>
{% endfor %}</table></details>
{% else %}<p class="good">No violation.</p>
{% endfor %}</html>
"""


def as_html(found: Exploration) -> str:
    """The page as text."""
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(PAGE)
    return page.render(found=found) + "\n"
