import pytest

from faultkit import checks
from faultkit.checks import Verdict, Violation, verdict_of


def test_verdicts_are_ordered_worst_first():
    worst_first = [
        "SILENT_WRONG", "LOST_WORK", "HUNG", "DIED", "PARTIAL", "MISATTRIBUTED",
        "MASKED", "LATE", "LEAKED", "UNUSABLE", "INERT", "HELD",
    ]  # fmt: skip
    assert [str(v) for v in sorted(Verdict, key=lambda v: v.severity)] == worst_first
    assert Verdict.SILENT_WRONG.severity == 0


def test_a_verdict_is_its_own_name_and_has_a_meaning():
    assert Verdict.HUNG == "HUNG"
    assert f"{Verdict.HUNG}" == "HUNG"
    assert all(verdict.meaning for verdict in Verdict)


def test_the_worst_violation_gives_the_verdict():
    found = [Violation("a", verdict, "") for verdict in (Verdict.MASKED, Verdict.PARTIAL, Verdict.INERT)]
    assert verdict_of(found) is Verdict.PARTIAL
    assert verdict_of([]) is Verdict.HELD


def test_violations_are_values():
    one = Violation("fired", Verdict.INERT, "never fired", (1,))
    assert one == Violation("fired", Verdict.INERT, "never fired", (1,))
    assert len({one, Violation("fired", Verdict.INERT, "never fired", (1,))}) == 1
    with pytest.raises(AttributeError):
        one.check = "other"


def test_the_catalogue_names_each_check_after_its_promise():
    assert list(checks.CATALOGUE) == [
        "fired",
        "liveness",
        "agreement",
        "attribution",
        "cause",
        "intact",
        "durable",
        "same",
        "settled",
        "snapshot",
        "replicas",
        "coverage",
        "atomicity",
        "application",
        "unread",
        "recovery",
        "parity",
        "resume",
        "leaks",
        "growth",
    ]
    assert tuple(checks.CATALOGUE) == checks.DEFAULT
    assert all(check.promise and check.verdicts for check in checks.CATALOGUE.values())
