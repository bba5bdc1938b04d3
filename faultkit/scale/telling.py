"""Growth in a terminal: what each size cost, a drawing of it, the exponents, and what they predict.

Plain text; every number comes from the growth, and the drawing has a logarithmic axis both ways: a straight
row of marks is a power law.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from faultkit.scale.growth import MEASURES, WHOLE, Growth

__all__ = ["amount", "conclusion", "row_of", "tell"]

DRAWN_WIDTH = 64
SHOWN = ("coordinator_bytes", "messages", "coordinator_seconds")
PREFIXES = ("", "k", "M", "G", "T", "P", "E")
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def tell(growth: Growth) -> str:
    """All of it, as lines of at most about 140 characters."""
    return "\n".join(_lines(growth))


def amount(measure: str, value: float) -> str:
    """A value of one of `MEASURES` with its unit: ``4.2 MiB``, ``12.4k``, ``0.018 s``."""
    if measure.endswith("bytes"):
        power = min(len(BINARY) - 1, int(math.log(value, 1024))) if value >= 1 else 0
        number = value / 1024**power
        return f"{number:.0f} B" if power == 0 else f"{number:.1f} {BINARY[power]}"
    if measure.endswith("seconds"):
        if value >= 3600:
            return f"{value / 3600:.1f} h"
        return (
            f"{value:.0f} s" if value >= 100 else f"{value:.2f} s" if value >= 1 else f"{1000 * value:.2f} ms"
        )
    power = min(len(PREFIXES) - 1, int(math.log(value, 1000))) if value >= 10_000 else 0
    number = value / 1000**power
    return f"{number:.0f}" if power == 0 else f"{number:.1f}{PREFIXES[power]}"


def row_of(growth: Growth, collective: str, measure: str) -> tuple[str, str, str, str] | None:
    """(exponent with its interval, prediction, its interval, last exponent) as text; None where nothing grows."""
    line = growth.line(collective, measure)
    if line is None:
        return None
    value, low, high = line.at(growth.at)
    return (
        f"{line.exponent:.2f} ({line.low:.2f} to {line.high:.2f})",
        amount(measure, value),
        f"{amount(measure, low)} to {amount(measure, high)}",
        f"{last:.2f}" if (last := growth.last_exponent(collective, measure)) is not None else "",
    )


def conclusion(growth: Growth) -> tuple[str, ...]:
    """What is predicted, and which collective is to blame: a sentence for each of the measures shown."""
    found = []
    for measure in SHOWN:
        row = row_of(growth, WHOLE, measure)
        blamed = growth.blamed(measure)
        if row is None or not blamed:
            continue
        own, whole = (
            growth.predicted(blamed, measure)[0],
            math.fsum(growth.predicted(one, measure)[0] for one in growth.collectives),
        )
        share = f", {100 * own / whole:.0f} % of it in {blamed!r}" if whole else ""
        found.append(f"{MEASURES[measure]}: {row[1]} on {growth.at:,} ranks ({row[2]}){share}")
    return tuple(found)


def _lines(growth: Growth) -> Iterator[str]:
    yield f"{growth.scenario} under {growth.plan or 'no fault'}" + (
        f", torch {growth.torch}" if growth.torch else ""
    )
    yield ""
    yield (
        f"{'ranks':>6} {'verdict':<14} {'messages':>10} {'bytes':>11} {'through coord.':>15} "
        f"{'coord. CPU':>11} {'all CPU':>10} {'simulated in':>13}"
    )
    for point in growth.points:
        yield (
            f"{point.ranks:>6} {point.verdict:<14} {amount('messages', point.total('messages')):>10} "
            f"{amount('bytes', point.total('bytes')):>11} "
            f"{amount('coordinator_bytes', point.total('coordinator_bytes')):>15} "
            f"{amount('seconds', point.total('coordinator_seconds')):>11} "
            f"{amount('seconds', point.total('engine_seconds')):>10} {point.seconds:>11.2f} s"
        )
    for measure in SHOWN:
        yield ""
        yield from _drawing(growth, measure)
    if len(growth.points) < 2:
        yield ""
        yield "one size alone says nothing of growth: measure at least two"
        return
    for measure in SHOWN:
        yield ""
        yield f"{MEASURES[measure]} = factor x ranks ^ exponent"
        yield f"  {'':<28} {'exponent (95 %)':<24} {'last':>5} {f'on {growth.at:,} ranks':>20}   95 %"
        for collective in (*growth.collectives, WHOLE):
            row = row_of(growth, collective, measure)
            if row is not None:
                yield f"  {collective:<28} {row[0]:<24} {row[3]:>5} {row[1]:>20}   {row[2]}"
    yield ""
    yield from conclusion(growth)


def _drawing(growth: Growth, measure: str) -> Iterator[str]:
    """A mark for each size, as far to the right as the logarithm of its value."""
    values = [point.total(measure) for point in growth.points]
    positive = [math.log(value) for value in values if value > 0]
    if not positive:
        return
    low, high = min(positive), max(positive)
    yield f"{MEASURES[measure]}, logarithmic"
    for point, value in zip(growth.points, values, strict=True):
        if value <= 0:
            continue
        place = (math.log(value) - low) / (high - low) if high > low else 1.0
        yield f"{point.ranks:>6} {'·' * round(place * (DRAWN_WIDTH - 1))}● {amount(measure, value)}"
