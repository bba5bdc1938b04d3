"""Every link of the documentation leads somewhere, every page is in the index, every file it names is there."""

from __future__ import annotations

import itertools
import re
import tomllib

import pytest

from tests.helpers.places import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.md"))
TEXTS = [*PAGES, *EXAMPLES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def links_of(page):
    """Pairs of a file and a place in it, "" for none: where the page leads."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    return [tuple(link.partition("#")[::2]) for link in links if "://" not in link]


def places_of(page):
    """The places that a page has, as GitHub names its headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heads = [
        re.sub(r"\[(.*?)\]\(.*?\)", r"\1", head) for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    ]
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_place(page):
    broken = []
    for file, place in links_of(page):
        aim = page.parent / file if file else page
        if not aim.exists() or (place and aim.suffix == ".md" and place not in places_of(aim)):
            broken.append(f"{file}#{place}" if place else file)
    assert not broken


@pytest.mark.parametrize(
    "index", [one for one in PAGES if one.name == "README.md"], ids=lambda one: one.parent.name
)
def test_an_index_has_every_page_of_its_folder(index):
    told = {(index.parent / file).resolve() for file, _ in links_of(index)}
    below = {path / "README.md" for path in index.parent.iterdir() if (path / "README.md").is_file()}
    assert {page for page in index.parent.glob("*.md") if page != index} | below <= told


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_a_signpost_names_files_that_are_there(name):
    named = set(
        re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|h)|(?:faultkit|tests)/[\w/]+)`", (ROOT / name).read_text())
    )
    assert len(named) >= 10
    below = [
        ROOT,
        *(ROOT / "faultkit" / part for part in ("", "checks", "crash", "injection", "plan", "worlds")),
    ]
    below += [
        ROOT / "tests" / "crash" / "enumeration",
        ROOT / "tests" / "helpers",
        ROOT / "faultkit" / "worlds" / "simulated",
    ]
    assert not {one for one in named if not any((place / one).exists() for place in below)}


def test_the_chart_has_every_package_in_the_order_of_the_layers():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [one["layers"] for one in contracts if one["id"] == "layers"]
    floor = {
        name.strip().removeprefix("faultkit."): number
        for number, layer in enumerate(layers)
        for name in layer.split("|")
    }
    chart = re.search(r"```mermaid\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)
    nodes = [
        [floor[name] for name in re.split(r"[,:] ", names) if name in floor]
        for names in re.findall(r'\["(.*?)<br>', chart[1])
    ]
    told = {number for node in nodes for number in node}
    assert told == set(range(len(layers)))
    words = set(re.findall(r"\w+", chart[1]))
    assert set(floor) - words == {"__main__"}
    for above, below in itertools.pairwise(nodes):
        assert max(above) <= min(below), (above, below)


def test_the_tests_of_a_package_are_found_from_it():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.partition("## Which tests guard what")[2].partition("## Add an action")[0]
    told = set(re.findall(r"`([\w/]+)`", " ".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE))))
    packages = [path.parent for path in (ROOT / "faultkit").rglob("__init__.py")]
    names = {path.relative_to(ROOT / "faultkit").as_posix() for path in packages} - {"."}
    assert len(names) >= 20
    assert {name for name in names - told if not list((ROOT / "tests" / name).glob("test_*.py"))} == set()
    folders = re.findall(r"`(tests/[\w/]+)`", table)
    assert len(folders) > 5 and [name for name in folders if not (ROOT / name).is_dir()] == []
