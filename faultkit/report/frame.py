"""One look for every page: a template in a common frame, rendered to one HTML file without anything from outside.

Guarantees: what comes from a run is escaped, and a value that a template asks for and was not given is an error.
Not covered: what each page says; that is in its own module and its template.
"""

from __future__ import annotations

import functools
from typing import Any

import jinja2

__all__ = ["render"]


def render(template: str, **values: Any) -> str:
    """The page of that template, such as ``sweep.html``, as text."""
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("faultkit.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
