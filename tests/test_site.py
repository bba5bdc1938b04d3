"""What the site is made of: all pages, and a reference that has each public name once and says nothing by itself.

Not covered: that it is built, which `make docs` does, strictly; where its environment is there, it is done here, too.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pkgutil import resolve_name

import pytest

from tests.helpers.places import ROOT
from tests.helpers.stuck import SECONDS_MAX

BUILDER = ROOT / ".venv-docs" / "bin" / "zensical"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    place = tmp_path_factory.mktemp("site") / "pages"
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.lay_out(place)
    return place


def test_every_page_of_the_repository_is_there(pages):
    for folder in ("docs", "examples"):
        kept = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.md")}
        assert kept and {path for path in kept if not (pages / path).is_file()} == set()
    assert (pages / "README.md").read_text() == (ROOT / "README.md").read_text()


def test_every_name_of_the_reference_can_be_imported_from_where_it_is_told(pages):
    names = [
        name
        for page in (pages / "reference").glob("*.md")
        for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)
    ]
    assert len(names) == len(set(names)) > 100
    assert {"faultkit.World", "faultkit.FaultPlan", "faultkit.strategies.rank_failures"} <= set(names)
    for name in names:
        resolve_name(name)


def test_the_site_is_built_and_a_link_that_leads_nowhere_is_refused(pages):
    if not BUILDER.exists():
        pytest.skip("there is no .venv-docs: make docs makes it")
    for lie in ("", "\n[nowhere](nowhere.md)\n"):
        with open(pages / "docs" / "README.md", "a") as page:
            page.write(lie)
        told = (ROOT / "mkdocs.yml").read_text()
        told = told.replace(".venv-docs/pages", pages.name).replace("build/site", "site")
        config = pages.parent / "mkdocs.yml"
        config.write_text(told.replace("paths: [., plugins]", f"paths: [{ROOT}]"))
        done = subprocess.run(
            [BUILDER, "build", "--strict", "--clean", "--config-file", config],
            cwd=pages.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
        )
        assert (done.returncode != 0) == bool(lie), done.stdout
    assert "How state is saved" in (pages.parent / "site" / "reference" / "index.html").read_text()
