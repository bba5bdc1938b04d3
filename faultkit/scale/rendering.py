"""Scaling in a terminal: what each size cost, a drawing of it, the exponents, and what they predict.

Plain text; every number comes from what was measured, and the drawing has a logarithmic axis both ways: a straight
row of marks is a power law.  By hand: numbers stand to the right, in columns that are the same whatever was measured,
and a drawing is no table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from faultkit.scale.scaling import MEASURES, WHOLE, Scaling

__all__ = ["amount", "conclusion", "law_text", "render_scaling", "row_of"]

DRAWN_WIDTH = 64
DOUBTFUL = 5  # so many times the value: the interval is then due to what was not measured
SHOWN = ("coordinator_bytes", "messages", "coordinator_seconds")
PREFIXES = ("", "k", "M", "G", "T", "P", "E")
BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def render_scaling(scaling: Scaling) -> str:
    """All of it, as lines of at most about 140 characters."""
    return "\n".join(_lines(scaling))


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


def law_text(scaling: Scaling, collective: str, measure: str) -> str:
    """The law in words, the largest term first: ``4.0 n^2 - 3.0 n``; empty where there is none."""
    law = scaling.law(collective, measure)
    text = ""
    for name, coefficient in reversed(law.terms if law is not None else ()):
        value = _coefficient(measure, abs(coefficient))
        sign = " - " if coefficient < 0 else " + " if text else ""
        part = value if name == "1" else name if value == "1" else f"{value} {name}"
        text += sign + part
    return text


def _coefficient(measure: str, value: float) -> str:
    if measure.endswith("seconds"):
        power = min(3, max(0, -math.floor(math.log10(value) / 3))) if 0 < value < 1 else 0
        return f"{value * 1000**power:.3g} {('s', 'ms', 'us', 'ns')[power]}"
    return (f"{value:,.0f}" if value >= 100 else f"{value:.3g}") + " B" * measure.endswith("bytes")


def row_of(scaling: Scaling, collective: str, measure: str) -> tuple[str, str, str, str] | None:
    """(exponent with its interval, prediction, its interval, last exponent) as text; None where nothing grows."""
    line = scaling.line(collective, measure)
    if line is None:
        return None
    value, low, high = scaling.predicted(collective, measure)
    return (
        f"{line.exponent:.2f} ({line.low:.2f} to {line.high:.2f})",
        amount(measure, value),
        f"{amount(measure, low)} to {amount(measure, high)}",
        f"{last:.2f}" if (last := scaling.last_exponent(collective, measure)) is not None else "",
    )


def conclusion(scaling: Scaling) -> tuple[str, ...]:
    """What is predicted, and which collective is to blame: a sentence for each of the measures shown."""
    found = []
    for measure in SHOWN:
        row = row_of(scaling, WHOLE, measure)
        blamed = scaling.blamed(measure)
        if row is None or not blamed or scaling.law(WHOLE, measure) is None:
            continue
        own, whole = (
            scaling.predicted(blamed, measure)[0],
            math.fsum(scaling.predicted(one, measure)[0] for one in scaling.collectives),
        )
        share = f", {100 * own / whole:.0f} % of it in {blamed!r}" if whole else ""
        value, _, high = scaling.predicted(WHOLE, measure)
        doubt = "; a square may hide in it: measure larger worlds" if high > DOUBTFUL * value else ""
        found.append(f"{MEASURES[measure]}: {row[1]} on {scaling.at:,} ranks ({row[2]}){share}{doubt}")
    return tuple(found)


def _lines(scaling: Scaling) -> Iterator[str]:
    yield f"{scaling.scenario} under {scaling.plan or 'no fault'}" + (
        f", torch {scaling.torch}" if scaling.torch else ""
    )
    yield ""
    yield (
        f"{'ranks':>6} {'verdict':<14} {'messages':>10} {'bytes':>11} {'through coord.':>15} "
        f"{'coord. CPU':>11} {'all CPU':>10} {'simulated in':>13}"
    )
    for point in scaling.points:
        yield (
            f"{point.ranks:>6} {point.verdict:<14} {amount('messages', point.total('messages')):>10} "
            f"{amount('bytes', point.total('bytes')):>11} "
            f"{amount('coordinator_bytes', point.total('coordinator_bytes')):>15} "
            f"{amount('seconds', point.total('coordinator_seconds')):>11} "
            f"{amount('seconds', point.total('engine_seconds')):>10} {point.seconds:>11.2f} s"
        )
    for measure in SHOWN:
        yield ""
        yield from _drawing(scaling, measure)
    if len(scaling.points) < 3:
        yield ""
        say = "1 size says" if len(scaling.points) == 1 else f"{len(scaling.points)} sizes say"
        yield f"{say} nothing of scaling: measure three"
        return
    for measure in SHOWN:
        yield ""
        yield f"{MEASURES[measure]}, on n ranks"
        yield (
            f"  {'':<24} {'exponent (95 %)':<22} {'last':>5} {f'on {scaling.at:,}':>12}   {'95 %':<25} law"
        )
        for collective in (*scaling.collectives, WHOLE):
            row = row_of(scaling, collective, measure)
            if row is not None:
                law = law_text(scaling, collective, measure)
                yield f"  {collective:<24} {row[0]:<22} {row[3]:>5} {row[1]:>12}   {row[2]:<25} {law}".rstrip()
    yield ""
    yield from conclusion(scaling)


def _drawing(scaling: Scaling, measure: str) -> Iterator[str]:
    """A mark for each size, as far to the right as the logarithm of its value."""
    values = [point.total(measure) for point in scaling.points]
    positive = [math.log(value) for value in values if value > 0]
    if not positive:
        return
    low, high = min(positive), max(positive)
    yield f"{MEASURES[measure]}, logarithmic"
    for point, value in zip(scaling.points, values, strict=True):
        if value <= 0:
            continue
        place = (math.log(value) - low) / (high - low) if high > low else 1.0
        yield f"{point.ranks:>6} {'·' * round(place * (DRAWN_WIDTH - 1))}● {amount(measure, value)}"
