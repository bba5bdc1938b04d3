"""The page of `faultkit scale`: one HTML file without anything from outside, with drawings as SVG.

Each drawing has logarithmic axes, the measured points, the law that they follow, drawn on to the number of ranks that
is asked for, and the interval around it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from faultkit.report.frame import render
from faultkit.scale.rendering import SHOWN, amount, conclusion, law_text, row_of
from faultkit.scale.scaling import MEASURES, WHOLE, Scaling
from faultkit.whole_files import write_whole

__all__ = ["as_html", "write_page"]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 90, 190, 16, 40
COLOURS = ("#4f5bd5", "#b3261e", "#2e7d32", "#8e3a9d", "#9a6200", "#006a78", "#5f6068", "#c2185b")
STEP_COUNT = 24


def as_html(scaling: Scaling) -> str:
    """The page as text."""
    return render(
        "scale.html",
        scaling=scaling,
        measures={measure: MEASURES[measure] for measure in SHOWN},
        all_measures=MEASURES,
        drawings={measure: _drawing(scaling, measure) for measure in SHOWN},
        rows={
            measure: [
                (collective, row, law_text(scaling, collective, measure))
                for collective in (*scaling.collectives, WHOLE)
                if (row := row_of(scaling, collective, measure)) is not None
            ]
            for measure in SHOWN
        },
        conclusion=conclusion(scaling),
        amount=amount,
        size=(WIDTH, HEIGHT),
    )


def write_page(scaling: Scaling, path: str | Path) -> None:
    """Write the page.  Raises OSError."""
    write_whole(path, as_html(scaling))


def _drawing(scaling: Scaling, measure: str) -> dict[str, Any]:
    """Places of marks, lines and labels in one drawing; empty where nothing was measured."""
    collectives = [c for c in scaling.collectives if any(p.value(c, measure) > 0 for p in scaling.points)]
    series = [*collectives[: len(COLOURS) - 1], WHOLE]
    values = [p.value(c, measure) for c in series for p in scaling.points if p.value(c, measure) > 0]
    if not values:
        return {}
    values += [scaling.predicted(c, measure)[0] for c in series if scaling.predicted(c, measure)[0] > 0]
    low_x, high_x = math.log10(scaling.points[0].ranks), math.log10(max(scaling.at, scaling.points[-1].ranks))
    low_y, high_y = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high_x, high_y = max(high_x, low_x + 1e-9), max(high_y, low_y + 1)

    def place(ranks: float, value: float) -> tuple[float, float]:
        across = (math.log10(ranks) - low_x) / (high_x - low_x)
        up = (math.log10(max(value, 1e-300)) - low_y) / (high_y - low_y)
        up = min(1.0, max(0.0, up))
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    drawn = []
    for number, collective in enumerate(series):
        points = [(p.ranks, p.value(collective, measure)) for p in scaling.points]
        drawn.append(
            {
                "name": collective,
                "colour": COLOURS[number],
                "marks": [
                    (*place(ranks, value), f"{collective}: {amount(measure, value)} on {ranks} ranks")
                    for ranks, value in points
                    if value > 0
                ],
                **_continued(scaling, collective, measure, place),
            }
        )
    return {
        "series": sorted(drawn, key=lambda one: one["end"]),
        "across": [
            (place(10**power, 10**low_y)[0], f"{10**power:,}")
            for power in range(math.ceil(low_x), math.floor(high_x) + 1)
        ],
        "up": [
            (place(scaling.points[0].ranks, 10**power)[1], amount(measure, 10**power))
            for power in range(low_y, high_y + 1)
        ],
        "frame": (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM),
    }


def _continued(scaling: Scaling, collective: str, measure: str, place: Any) -> dict[str, Any]:
    law = scaling.law(collective, measure)
    if law is None:
        return {"line": "", "band": "", "end": HEIGHT}
    first = math.log(scaling.points[0].ranks)
    last = math.log(max(scaling.at, scaling.points[-1].ranks))
    sizes = [math.exp(first + (last - first) * step / STEP_COUNT) for step in range(STEP_COUNT + 1)]
    middle = [place(size, law.value(size)) for size in sizes]
    beyond = [size for size in sizes if size >= scaling.points[-1].ranks]
    band = [place(size, law.at(size)[1]) for size in beyond]
    band += [place(size, law.at(size)[2]) for size in reversed(beyond)]
    return {"line": _path(middle), "band": _path(band) if collective == WHOLE else "", "end": middle[-1][1]}


def _path(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
