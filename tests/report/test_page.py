"""The page of a sweep: complete, self-contained, and safe to open whatever an engine said."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import msgspec
import pytest

import faultkit
from faultkit import FaultPlan, Verdict
from faultkit.checks import Violation
from faultkit.report import scale_page
from faultkit.report.made import SCHEMA, Made, made_here
from faultkit.report.page import as_html, write_report
from faultkit.report.terminal import as_svg
from faultkit.scale import Cost, Point, Scaling
from faultkit.sweep.results import Baseline
from tests.helpers.explorer_data import data_of
from tests.helpers.sweep_journals import HUNG, journal, result, small_journal


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.sources, self.words, self.tags = set(), [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.ids.add(attributes.get("id"))
        self.links += [attributes["href"]] if "href" in attributes else []
        self.sources += [attributes["src"]] if "src" in attributes else []

    def handle_data(self, data):
        self.words += data.split()

    @property
    def text(self):
        return " ".join(self.words)


def test_every_cell_leads_to_what_happened_there():
    data = data_of(as_html(small_journal()))
    rows = data["matrix"]["rows"]
    led = [cell["items"] for row in rows for cell in row["cells"].values()]
    assert sorted(number for cell in led for number in cell) == [0, 1, 2]
    assert [data["items"][number]["place"] for number in rows[0]["cells"]["rank 0"]["items"]] == [
        rows[0]["place"]
    ]


def test_evidence_story_and_command_are_on_the_page():
    data = data_of(as_html(small_journal()))
    [title] = [title for title, _ in data["groups"]]
    item = data["items"][0]
    assert title.startswith("writer.reset on ranks 0, 1")
    assert item["evidence"][0] == ["liveness", "rank 0 waits"]
    assert "the story of <writer.reset@1=raise(ValueError)>" in data["items"][1]["story"]
    command = "faultkit replay 'writer.reset@0=raise(ValueError)' --scenario dcp-save --world 2"
    assert item["ways"][0] == ["in a shell", command]
    assert "Not reached by this scenario: writer.storage_meta." in data["notes"]


def test_nothing_comes_from_outside_and_no_other_script_or_style_applies():
    text = as_html(small_journal())
    assert Page(text).sources == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(|innerHTML|eval\(", text)
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("script", "style"):
        [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_when_on_what_and_by_which_command_it_was_made_is_on_the_page():
    made = Made(
        at="2026-01-02T03:04:05+00:00",
        faultkit="1",
        torch="2",
        python="3",
        host="here",
        commit="abc",
        command="x y",
    )
    text = as_html(small_journal(), made)
    assert data_of(text)["made"] == msgspec.to_builtins(made) and data_of(text)["schema"] == SCHEMA
    assert (
        "Made 2026-01-02T03:04:05+00:00 by faultkit 1, torch 2, Python 3, on here, commit abc"
        in Page(text).text
    )
    assert made_here().faultkit == faultkit.__version__


def test_what_an_engine_says_stays_text():
    evil = '"><script>alert(1)</script>'
    page = Page(as_html(journal(result("writer.reset@0=hang", HUNG, evil), scenario=f"m:{evil}")))
    assert page.tags.count("script") == 2  # the data, and what shows it
    assert "alert(1)" in page.text


CRAFTED = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><style>@import url(//evil)</style>",
    "</pre></details></body></html><h1>HELD</h1>",
    "<!-- --> --><b>",
    "<![CDATA[<b>]]>",
    "&lt;b&gt;&amp;",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\x00\x1b]0;title\x07\x9b2J\ufffe",
    "[link=//evil]text[/link]",
]


def tags_of(text):
    return sorted(Page(text).tags)


@pytest.mark.parametrize("crafted", CRAFTED)
def test_no_page_has_a_tag_or_an_attribute_that_came_from_a_rank_or_a_file(crafted):
    def page(words):
        return as_html(journal(result("writer.reset@0=hang", HUNG, words), scenario=f"m:{words}"))

    def scaling(words):
        points = (Point(ranks=2, verdict=words, seconds=0.5, costs=(Cost(collective=words, messages=2),)),)
        return scale_page.as_html(Scaling(scenario=words, plan=words, torch=words, points=points))

    for make in (page, scaling):
        assert tags_of(make(crafted)) == tags_of(make("harmless"))
        assert "onerror" not in make(crafted) or "<img" not in make(crafted)
    picture = as_svg(journal(result("writer.reset@0=hang", HUNG, crafted), scenario=f"m:{crafted}"))
    names = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(picture).iter()}
    assert names <= {"svg", "style", "defs", "clipPath", "rect", "text", "g", "circle"}


def test_several_actions_and_plans_that_fit_no_row():
    shown = journal(
        result("writer.reset@0=hang", HUNG), result("writer.reset@0=stop"), result("writer.reset=stop")
    )
    data = data_of(as_html(shown))
    assert [(row["place"], row["action"]) for row in data["matrix"]["rows"]] == [
        ("writer.reset", "hang"),
        ("writer.reset", "stop"),
    ]
    assert [data["items"][2]["word"], data["items"][2]["name"]] == ["HELD", "writer.reset=stop"]


def test_what_was_not_run_and_what_breaks_by_itself_are_on_the_page():
    plan = FaultPlan.parse("writer.storage_meta@1=raise(ValueError)")
    data = data_of(as_html(small_journal(pending=(plan,), planned_count=4, unbroken_file_count=2)))
    assert data["matrix"]["rows"][-1]["cells"] == {"rank 1": {"is_pending": True}}
    notes = " ".join(data["notes"])
    assert "the sweep was cut off before that plan" in notes and "The function wrote 2 files" in notes
    told = "does not hold with nothing broken"
    assert told in data_of(as_html(journal(result("", HUNG), baseline=Baseline(5, 5, told))))["notes"]


def test_what_a_verdict_means_follows_the_violation_where_there_is_one_meaning():
    made = result("writer.finish@0=raise(ValueError)", Verdict.LOST_WORK, check="durable")
    lost = Violation("durable", Verdict.LOST_WORK, "lost", (0,), "cannot be loaded")
    told = msgspec.structs.replace(made, violations=(lost,))
    assert data_of(as_html(journal(told)))["meanings"]["LOST_WORK"] == "cannot be loaded"
    assert data_of(as_html(journal(told, made)))["meanings"]["LOST_WORK"].startswith(
        "work that was saved is lost"
    )


def test_an_empty_sweep_has_a_page():
    assert data_of(as_html(journal()))["items"] == [] and "0 plans" in as_html(journal())


@pytest.mark.parametrize(("name", "start"), [("a.html", "<!doctype html>"), ("a.SVG", "<svg")])
def test_the_suffix_chooses_page_or_picture(tmp_path, name, start):
    write_report(small_journal(), tmp_path / name)
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
