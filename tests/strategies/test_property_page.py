"""The page on property-based testing: its examples run, in order, as one file; its tables are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from faultkit import strategies
from faultkit.strategies import profiles
from faultkit.strategies.sites import promised_sites

PAGE = (Path(__file__).parents[2] / "docs" / "property-based-testing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_example_runs(tmp_path):
    quickly = (
        "import hypothesis\nhypothesis.settings.register_profile('quick', max_examples=3, deadline=None)\n"
    )
    text = "\n".join(EXAMPLES).replace('load_profile("dev")', 'load_profile("quick")')
    count = text.count("def test_")
    (tmp_path / "test_page.py").write_text(quickly + "hypothesis.settings.load_profile('quick')\n" + text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            "-p",
            "no:xdist",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert f"{count} passed" in done.stdout
    assert count == 10


def test_the_tables_are_those_of_the_code():
    families = re.search(r"\| family \|.*?\n\n", PAGE, re.DOTALL).group()
    assert tuple(re.findall(r"^\| `(\w+)` \|", families, re.MULTILINE)) == strategies.ERROR_FAMILIES
    made = re.search(r"\| profile \|.*?\n\n", PAGE, re.DOTALL).group()
    assert tuple(re.findall(r"^\| `(\w+)` \|", made, re.MULTILINE)) == profiles.NAMES


def test_the_points_drawn_by_default_are_listed_in_the_order_of_calls():
    for op in ("save", "load"):
        text = re.search(rf"\* of a {op}: (.*?)[;.]\n", PAGE, re.DOTALL).group(1)
        names = [site.point.partition(".")[2] for site in promised_sites(op) if site.moment == "before"]
        assert list(dict.fromkeys(re.findall(r"`(\w+)`", text))) == names
