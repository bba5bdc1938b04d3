"""The explorer in a real browser: filters, search, keyboard, links, copying; and nothing that a rank says is markup."""

from __future__ import annotations

import urllib.parse

import pytest

from faultkit.report.explorer import Cell, Drawing, Explorer, Item, Matrix, Row, as_html
from faultkit.report.made import Made
from faultkit.runs.timeline import Lane, Timeline
from tests.helpers import chromium

pytestmark = pytest.mark.slow

MADE = Made(
    at="2026-01-02T03:04:05+00:00", faultkit="1", torch="2", python="3", host="h", commit="c", command="x"
)
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 360, "height": 740}
LANES = (
    Lane(
        0,
        ((0.0, 0.5, "save", "save 1", True), (0.1, 0.4, "step", "plan", False)),
        ((0.2, "fault", "at x"),),
        "raised",
        knew=0.5,
    ),
    Lane(1, ((0.0, None, "save", "save 1", True),), (), "hung", "for rank 0"),
)


def item(number, word, rank, **more):
    plan = f"writer.finish@{rank}#{number}=raise(OSError, ENOSPC)"
    given = {
        "name": plan,
        "place": f"writer.point{number % 7}",
        "action": "raise(OSError, ENOSPC)",
        "at": (f"rank {rank}",),
        "evidence": (("liveness", f"rank {rank} waits for number {number}"),) if word != "HELD" else (),
        "ways": (("in a shell", f"faultkit replay '{plan}'"),),
    }
    return Item(word=word, **{**given, **more})


def explorer(items, **more):
    rows: dict[str, dict[str, list[int]]] = {}
    for number, one in enumerate(items):
        rows.setdefault(one.place, {}).setdefault(one.at[0], []).append(number)
    columns = tuple(sorted({one.at[0] for one in items}))
    given = {
        "title": "dcp-save on 2 ranks",
        "what": "plans",
        "meanings": {"HUNG": "a rank waited for ever", "HELD": "every promise was kept"},
        "matrix": Matrix(
            "injected at",
            columns,
            tuple(
                Row(place, "raise", {rank: Cell(tuple(numbers)) for rank, numbers in cells.items()})
                for place, cells in rows.items()
            ),
        ),
    }
    return Explorer(items=tuple(items), made=MADE, **{**given, **more})


SMALL = [
    item(0, "HELD", 0),
    item(1, "HUNG", 1, timeline=Timeline(0.5, LANES), story="the whole story of <1>", known="named-before"),
    item(2, "MASKED", 0),
    item(3, "HUNG", 1),
]


@pytest.fixture(scope="module")
def browser():
    with chromium.running() as started:
        yield started


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page from the disk; afterwards it must have asked nobody, and have said nothing of an error."""
    contexts, told = [], []

    def open_page(found, fragment="", **options):
        path = tmp_path / "page.html"
        path.write_text(as_html(found), encoding="utf-8")
        context = browser.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("dialog", lambda dialog: told.append(dialog.message))
        page.on(
            "request",
            lambda request: told.append(request.url) if not request.url.startswith("file:") else None,
        )
        page.goto(f"file://{path}{fragment}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []


def listed(page):
    return page.locator(".list > button code").all_inner_texts()


def test_the_worst_come_first_and_filters_and_search_leave_what_they_say(opened):
    page = opened(explorer(SMALL))
    assert page.locator(".list .badge").all_inner_texts() == ["HUNG", "HUNG", "MASKED", "HELD"]
    assert listed(page)[0] == SMALL[3].name  # what is known comes after what is new
    page.get_by_role("button", name="HELD 1").click()
    assert listed(page) == [SMALL[0].name] and page.locator("output").inner_text() == "1 of 4 plans"
    page.get_by_role("button", name="HELD 1").click()
    page.get_by_label("rank", exact=True).select_option("rank 1")
    assert sorted(listed(page)) == sorted([SMALL[1].name, SMALL[3].name])
    page.get_by_label("known", exact=True).select_option("known")
    assert listed(page) == [SMALL[1].name]
    page.get_by_label("rank", exact=True).select_option("")
    page.get_by_label("known", exact=True).select_option("")
    page.get_by_label("search").fill("WAITS number 3")
    assert listed(page) == [SMALL[3].name]
    page.get_by_label("search").fill("nothing says this")
    assert listed(page) == [] and page.locator("output").inner_text() == "0 of 4 plans"


def test_a_cell_opens_what_happened_and_the_link_opens_it_again(opened):
    page = opened(explorer(SMALL))
    page.get_by_role("button", name="writer.point1 raise, rank 1: HUNG").click()
    detail = page.locator(".detail")
    text = detail.inner_text()
    for told in (
        "a rank waited for ever",
        "rank 1 waits for number 1",
        "the whole story of <1>",
        "named-before",
    ):
        assert told in text
    assert detail.locator("svg .m-fault").count() == 1 and detail.locator("svg .hang").count() == 1
    assert "rank 1: waiting for rank 0" in text
    fragment = urllib.parse.urlsplit(page.url).fragment
    assert urllib.parse.unquote(fragment) == f"plan={SMALL[1].name}"
    again = opened(explorer(SMALL), f"#{fragment}")
    assert again.locator(".detail .what").inner_text() == SMALL[1].name
    again.get_by_role("button", name="Close").click()
    assert not again.locator(".detail").is_visible()


def test_two_that_have_one_name_have_two_links(opened):
    twins = [item(5, "HUNG", 0, name="writer.reset"), item(5, "HELD", 1, name="writer.reset")]
    page = opened(explorer(twins))
    page.get_by_role("button", name="writer.point5 raise, rank 1: HELD").click()
    again = opened(explorer(twins), f"#{urllib.parse.urlsplit(page.url).fragment}")
    assert again.locator(".detail .badge").first.inner_text() == "HELD"


def test_a_command_is_copied(opened):
    page = opened(explorer(SMALL), permissions=["clipboard-read", "clipboard-write"])
    page.locator(".list > button").first.click()
    page.get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == SMALL[3].ways[0][1]


def test_all_of_it_goes_by_keyboard(opened):
    page = opened(explorer(SMALL))
    page.keyboard.press("/")
    page.keyboard.type("number 3")
    assert listed(page) == [SMALL[3].name]
    page.get_by_label("search").fill("")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator(".detail .what").inner_text() == SMALL[1].name
    page.keyboard.press("k")
    assert page.locator(".detail .what").inner_text() == SMALL[3].name
    page.keyboard.press("Escape")
    assert not page.locator(".detail").is_visible()
    page.get_by_role("button", name="writer.point1 raise, rank 1: HUNG").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator(".detail .what").inner_text() == SMALL[3].name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_narrow_screen_in_light_and_dark(opened, scheme):
    page = opened(explorer(SMALL), viewport=NARROW, color_scheme=scheme)
    page.locator(".list > button").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_of_ten_thousand_plans_as_many_are_made_as_are_looked_at(opened):
    many = [
        item(n, "HUNG" if n % 10 == 0 else "HELD", n % 4, place=f"writer.point{n // 4}")
        for n in range(10_000)
    ]
    page = opened(explorer(many))
    assert page.locator("output").inner_text() == "10,000 of 10,000 plans"
    assert page.locator(".list > button").count() <= 400
    assert page.locator(".grid > div").count() <= 400
    page.get_by_label("search").fill("number 9990")
    assert listed(page) == [many[9990].name]
    page.get_by_label("search").fill("")
    page.locator(".list > button").nth(20).click()
    for _ in range(100):  # further than what had been made
        page.keyboard.press("j")
    assert page.locator(".detail .what").inner_text() == many[1200].name


HOSTILE = [
    "<script>window.hit=1</script>",
    "</script><script>window.hit=1</script>",
    '"><img src=x onerror="window.hit=1">',
    "</style><style>body{display:none}</style>",
    "javascript:window.hit=1",
    "<!--<script>",
    "]]><svg onload=window.hit=1>",
    "\x00\x1b]0;t\x07\u2028\u202e\ud800",
    "__proto__",
    "{{ 7 * 7 }}",
]


def test_what_is_said_in_any_field_is_text(opened):
    """Strings in every field there is; none becomes an element, runs, or is sent anywhere."""
    items = [
        Item(
            word="HUNG",
            name=said,
            place=said,
            action=said,
            at=(said,),
            known=said,
            test=said,
            evidence=((said, said),),
            facts=((said, said),),
            story=said,
            ways=((said, said),),
            timeline=Timeline(
                1.0, (Lane(0, ((0.0, 1.0, "save", said, True),), ((0.5, "fault", said),), said, said),), said
            ),
            beside=Timeline(1.0, (Lane(1, ((0.0, 1.0, "step", said, True),), (), said, said),), said),
            drawing=Drawing({said: [(said, "lost", 0), (said, "later", 1)]}, said, said),
            also=said,
        )
        for said in HOSTILE
    ]
    made = Made(**dict.fromkeys(Made.__struct_fields__, HOSTILE[1]))
    groups = tuple((said, (number,)) for number, said in enumerate(HOSTILE))
    tables = ((HOSTILE[0], (HOSTILE[1],), ((HOSTILE[2],),)),)
    found = explorer(items, title=HOSTILE[3], what="plans", facts=tuple(HOSTILE), notes=tuple(HOSTILE), groups=groups,
                     tables=tables, meanings={"HUNG": HOSTILE[2], **{said: said for said in HOSTILE}})  # fmt: skip
    page = opened(
        type(found)(**{**{name: getattr(found, name) for name in found.__struct_fields__}, "made": made})
    )
    for number in range(len(HOSTILE)):
        page.locator(".list > button").nth(number).click()
        assert page.locator(".detail svg").count() == 3
    assert page.evaluate("window.hit") is None
    assert page.locator("script").count() == 2 and page.locator("style").count() == 1
    assert page.locator("img, iframe, link, base, form, object, svg[onload], [onerror]").count() == 0
    assert page.evaluate("getComputedStyle(document.body).display") == "block"
    assert "<script>window.hit=1</script>" in page.locator(".list").inner_text()


def test_another_script_does_not_run(opened, browser, tmp_path):
    """The policy itself, should a tag ever come in: it applies to the very page that we write."""
    path = tmp_path / "with_another.html"
    path.write_text(as_html(explorer(SMALL)).replace("</body>", "<script>window.hit=1</script></body>"))
    page = browser.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(f"file://{path}")
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("typeof window.hit") == "undefined"
    assert any("Content Security Policy" in text for text in refused)
    page.close()


def test_without_scripts_the_totals_are_told(opened, browser, tmp_path):
    path = tmp_path / "plain.html"
    path.write_text(as_html(explorer(SMALL)))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"file://{path}")
    text = page.locator("body").inner_text()
    assert "HUNG: 2" in text and "Made 2026-01-02T03:04:05+00:00" in text
    context.close()
