import re

from faultkit.checks import CATALOGUE, Verdict
from tests.helpers.finished_runs import reported_save
from tests.helpers.places import page

PAGE = page("checks.md")


def test_every_check_has_its_entry_with_what_it_does_not_verify():
    entries = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
    assert list(entries) == list(CATALOGUE)
    for name, entry in entries.items():
        assert "*Not verified:*" in entry, name
        assert set(re.findall(r"`([A-Z_]{4,})`", entry)) == set(CATALOGUE[name].verdicts), name


def test_the_table_of_verdicts_is_that_of_the_code():
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| ?(.*?) ?\|$", PAGE, re.MULTILINE)
    assert [(name, meaning) for name, meaning, _ in rows] == [(str(v), v.meaning) for v in Verdict]
    for name, _, given_by in rows:
        assert [c.name for c in CATALOGUE.values() if name in c.verdicts] == [
            w for w in given_by.split(", ") if w
        ]


def test_the_check_of_ones_own_on_the_page_works():
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "def find" in block]
    names = {
        "run": reported_save("writer.write_data@2=raise(ValueError)", step="write", fired_on={2: 0}).run()
    }
    exec(code, names)
    assert names["examine"](names["run"], [names["prompt"]]) == ()
    late = names["run"]
    late.events = tuple(type(e)(e.rank, e.seconds + 9, e.kind, e.data) for e in late.events)
    [violation] = names["examine"](late, [names["prompt"]])
    assert violation.ranks == (0, 1, 2, 3)
