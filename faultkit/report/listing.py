"""What can break, where and how: the catalogue as text for people and as JSON for programs."""

from __future__ import annotations

import json
from typing import Any

from faultkit.messages import columns, listed, shortened
from faultkit.plan.action_catalogue import ACTIONS
from faultkit.plan.file_filters import THREADS
from faultkit.plan.points import LAYERS, MOMENTS, catalogue

__all__ = ["as_json", "as_text"]

LAYER_MEANING = {
    "writer": "the methods of the storage writer",
    "reader": "the methods of the storage reader",
    "storage": "writer or reader, whichever the run uses",
    "planner": "the methods of the save and the load planner",
    "fs": "the files below the writer and the reader",
    "comm": "the collectives that the engine's steps are made of",
    "app": "the application's own state",
    "stager": "the stager of an asynchronous save, and its buffers",
    "executor": "the thread on which the engine makes an asynchronous save",
    "daemon": "the process that makes an asynchronous save by process, as its rank sees it",
    "torch": "saving and loading of objects, to paths and to streams",
    "safetensors": "saving and loading of files",
    "http": 'requests to the S3 server of a campaign; a path is a key, such as "*.distcp"',
    "call": "any function or method: call.module:function, such as call.mypkg.storage:Plugin.write",
    "clock": "the time since the start of the run",
}
MOMENT_MEANING = {
    "before": "as the point is entered (the default)",
    "after": "as it comes back without an error",
    "future": "inside the future that it returns; only at points marked 'future'",
}
ROLE_MEANING = {
    "*": "every rank (the default)",
    "1,3-5": "these ranks",
    "coordinator": "the rank that coordinates the engine's steps",
    "others": "every rank but that one",
    "first": "rank 0",
    "last": "the highest rank",
}
FILES_MEANING = {
    '("*.distcp")': "files of such a name; with '/' the end of the path (layer fs only)",
    "(helper)": "on threads that the writer started; main: on the thread of the engine or the function",
    '("*.distcp", helper)': "both",
    "(child)": "in the processes that a rank forks, or starts by multiprocessing; at any point",
}
CALL_MEANING = {"1-": "every call (the default)", "2": "the second call on that rank", "2-4": "these calls"}


def as_text(width: int | None = None) -> str:
    """The catalogue; no line longer than `width` characters where that is given."""
    lines = [
        "A fault is point[(files)][:moment][@ranks][#calls]=action; a plan is faults with ';' between them.",
        "",
    ]
    lines += ["points"]
    for layer in LAYERS:
        points = [point for point in catalogue() if point.layer == layer]
        lines += [f"  {layer}: {LAYER_MEANING.get(layer, '')}"]
        if points:
            lines += columns((f"    {p}", "future" if p.futures else "", p.summary) for p in points)
    for title, meanings in (
        ("files", FILES_MEANING),
        ("moments", MOMENT_MEANING),
        ("ranks", ROLE_MEANING),
        ("calls", CALL_MEANING),
    ):
        lines += ["", title, *columns((f"  {word}", meaning) for word, meaning in meanings.items())]
    lines += ["", "actions"]
    for spec in ACTIONS.values():
        at = f"; only at {listed(f'fs.{name}' for name in spec.points)}" if spec.points else ""
        if spec.replaces and not spec.points:
            at = "; only where a call gives a value, and not at files"
        if spec.layers:
            at = f"; only at points of layer {listed(spec.layers)}"
        lines += [f"  {spec.usage}", f"    {spec.summary}{at}"]
        lines += columns((f"      {p.name}", _about(p)) for p in spec.parameters)
    return "\n".join(line if width is None else shortened(line, max(1, width - 3)) for line in lines)


def as_json() -> str:
    """The catalogue as one JSON object: ``points``, ``moments``, ``threads``, ``ranks`` and ``actions``.

    The ``points`` of an action are those at which alone it can happen, empty where it can anywhere.
    """
    value: dict[str, Any] = {
        "points": [
            {
                "point": str(point),
                "layer": point.layer,
                "name": point.name,
                "moments": point.moments,
                "summary": point.summary,
            }
            for point in catalogue()
        ],
        "moments": list(MOMENTS),
        "threads": list(THREADS),
        "ranks": list(ROLE_MEANING),
        "actions": [
            {
                "action": spec.name,
                "usage": spec.usage,
                "family": spec.family,
                "summary": spec.summary,
                "points": [f"fs.{name}" for name in spec.points],
                "parameters": [
                    {
                        "name": p.name,
                        "type": p.type,
                        "required": p.required,
                        "default": p.default,
                        "choices": p.choices,
                        "summary": p.doc,
                    }
                    for p in spec.parameters
                ],
            }
            for spec in ACTIONS.values()
        ],
    }
    return json.dumps(value, indent=1)


def _about(parameter: Any) -> str:
    default = "" if parameter.default is None else f" (default {parameter.default})"
    return f"{parameter.doc}{default}"
