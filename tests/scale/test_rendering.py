"""Scaling in a terminal, on a page and by the command."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal

import pytest
from click.testing import CliRunner

from faultkit.cli import command
from faultkit.report.scale_page import as_html
from faultkit.scale import Cost, Point, Scaling
from faultkit.scale.rendering import amount, conclusion, render_scaling
from faultkit.scale.scaling import WHOLE


def point(ranks):
    costs = (
        Cost(
            collective="plan: gather_object",
            messages=ranks**2,
            coordinator_bytes=100 * ranks,
            bytes=200 * ranks,
        ),
        Cost(collective="plan: work", coordinator_seconds=0.001 * ranks, engine_seconds=0.002 * ranks),
    )
    return Point(ranks=ranks, verdict="HELD", seconds=0.5, costs=costs)


SCALING = Scaling(
    scenario="a <save>", plan="", torch="9.9", points=tuple(map(point, (2, 4, 8, 16))), at=100_000
)


@pytest.mark.parametrize(
    ("measure", "value", "text"),
    [
        ("bytes", 0, "0 B"),
        ("bytes", 1023, "1023 B"),
        ("coordinator_bytes", 3 * 1024**2, "3.0 MiB"),
        ("messages", 9999, "9999"),
        ("messages", 12_340, "12.3k"),
        ("messages", 2.5e9, "2.5G"),
        ("engine_seconds", 0.0123, "12.30 ms"),
        ("engine_seconds", 2.5, "2.50 s"),
        ("engine_seconds", 250.4, "250 s"),
        ("engine_seconds", 7200, "2.0 h"),
    ],
)
def test_amounts_have_a_unit(measure, value, text):
    assert amount(measure, value) == text


def test_the_terminal_shows_sizes_exponents_predictions_and_whom_to_blame():
    text = render_scaling(SCALING)
    assert re.search(r"^ +16 HELD +256 ", text, re.MULTILINE)
    assert re.search(
        r"plan: gather_object +2\.00 \(2\.00 to 2\.00\) +2\.00 +10\.0G .* n\^2$", text, re.MULTILINE
    )
    assert re.search(r"plan: work .* 100 s .* 1 ms n$", text, re.MULTILINE)
    assert "messages: 10.0G on 100,000 ranks (10.0G to 10.0G), 100 % of it in 'plan: gather_object'" in text
    assert all(len(line) <= 140 for line in text.splitlines())


def test_the_drawing_of_a_power_is_a_straight_row_of_marks():
    lines = render_scaling(SCALING).splitlines()
    start = lines.index("messages, logarithmic") + 1
    places = [line.index("●") for line in lines[start : start + 4]]
    assert [b - a for a, b in itertools.pairwise(places)] == [21, 21, 21]


def test_one_size_alone_predicts_nothing():
    alone = Scaling(scenario="s", plan="", torch="", points=(point(2),))
    assert "1 size says nothing of scaling: measure three" in render_scaling(alone)
    assert conclusion(alone) == ()
    two = Scaling(scenario="s", plan="", torch="", points=(point(2), point(4)))
    assert "2 sizes say nothing of scaling: measure three" in render_scaling(two) and conclusion(two) == ()


def test_a_prediction_that_a_square_may_change_says_so():
    values = (1.1, 0.9, 1.1, 0.9, 1.1, 0.9)
    points = tuple(
        Point(
            ranks=2**power,
            verdict="HELD",
            seconds=0.1,
            costs=(Cost(collective="plan: work", coordinator_seconds=0.004 * scatter),),
        )
        for power, scatter in enumerate(values, start=1)
    )
    [said] = conclusion(Scaling(scenario="s", plan="", torch="", points=points))
    assert said.endswith("a square may hide in it: measure larger worlds")


def test_the_page_is_complete_in_itself_and_draws_each_measure():
    page = as_html(SCALING)
    assert "a &lt;save&gt;" in page and "<save>" not in page
    assert page.count("<svg") == 3 and page.count("<circle") >= 3 * 4
    assert "10.0G" in page
    assert not re.search(r'(?:src|href)="', page)


def test_the_page_of_one_size_has_no_line():
    page = as_html(Scaling(scenario="s", plan="", torch="", points=(point(2),)))
    assert "<circle" in page and "<polyline" not in page


# -- the command ---------------------------------------------------------------------------------


def scale(*arguments):
    return CliRunner().invoke(command, ["scale", *arguments], standalone_mode=False)


def test_the_command_measures_prints_and_writes(tmp_path):
    done = scale("--to", "8", "--json", str(tmp_path / "g.json"), "--report", str(tmp_path / "g.html"))
    assert done.return_value == 0, done.output
    assert [p["ranks"] for p in json.loads((tmp_path / "g.json").read_text())["points"]] == [2, 4, 8]
    assert "<svg" in (tmp_path / "g.html").read_text()
    assert "write: gather_object" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "1"], "'from' must be a number of ranks from 2"),
        (["--from", "8", "--to", "4"], "must not be above"),
        (["--report", "x.svg"], "must end with .html"),
        (["--budget", "0"], "above 0"),
        (["--at", "1"], "'at' must be"),
        (["nothing"], "unknown scenario"),
        (["--plan", "writer.wite_data=hang"], "write_data"),
    ],
)
def test_a_mistake_is_said_before_anything_starts(arguments, words):
    done = scale(*arguments)
    assert done.exception is not None
    assert words in str(getattr(done.exception, "message", done.exception))


def test_what_was_measured_until_a_signal_is_told(monkeypatch):
    from faultkit import scale as scaling

    measure = scaling.measure

    def measured(*arguments, on_point, **options):
        def then_ended(point):
            on_point(point)
            os.kill(os.getpid(), signal.SIGTERM)

        return measure(*arguments, on_point=then_ended, **options)

    monkeypatch.setattr(scaling, "measure", measured)
    done = scale("--to", "8")
    assert done.return_value == 130 and "interrupted" in done.output
    assert "1 size says nothing of scaling" in done.output


SIZES = (2, 4, 8, 16, 32, 64, 128)


def grown(*collectives):
    """Scaling of collectives whose coordinator costs so many seconds, functions of the number of ranks."""

    def costs(ranks):
        return tuple(
            Cost(collective=f"step: {number}", coordinator_seconds=seconds(ranks))
            for number, seconds in enumerate(collectives)
        )

    points = tuple(Point(ranks=n, verdict="HELD", seconds=0.5, costs=costs(n)) for n in SIZES)
    return Scaling(scenario="save", plan="", torch="9.9", points=points, at=100_000)


def square(n):
    return 2e-6 * n * n


def noisy(n):
    return 0.02 * n * (1.25 if n.bit_length() % 2 else 0.8)


def test_the_whole_costs_no_less_than_its_part():
    scaling = grown(square, noisy)
    value, low, high = scaling.predicted(WHOLE, "coordinator_seconds")
    assert "n^2" not in dict(grown(lambda n: square(n) + noisy(n)).law(WHOLE, "coordinator_seconds").terms)
    part = scaling.predicted("step: 0", "coordinator_seconds")[0]
    assert part == pytest.approx(20_000, rel=0.01)
    assert value >= part and low <= value <= high
    assert value == pytest.approx(part + scaling.predicted("step: 1", "coordinator_seconds")[0])
    assert any("6.1 h on 100,000 ranks" in line for line in conclusion(scaling))


def test_a_whole_in_which_its_parts_show_has_a_law_of_its_own():
    scaling = grown(square, lambda n: 0.02 * n)
    law = scaling.law(WHOLE, "coordinator_seconds")
    assert law.parts == ()
    assert dict(law.terms) == {"n": pytest.approx(0.02), "n^2": pytest.approx(2e-6)}
