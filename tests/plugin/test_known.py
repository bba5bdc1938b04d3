"""``--faultkit-known`` and ``--faultkit-write-known``, in sessions as a user has them."""

from __future__ import annotations

import re

import pytest

from faultkit.known.reading import read_file
from tests.helpers.pytest_runs import SUITES, run_pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """The first session writes down what there is; the second knows all but one of it, and of one that is gone."""
    folder = tmp_path_factory.mktemp("known")
    (folder / "test_known.py").write_text((SUITES / "known.py").read_text())
    first = run_pytest(folder, "--faultkit-write-known", "known.toml", "-p", "no:randomly")
    assert {case.outcome for name, case in first.cases.items() if "holds" not in name} == {"failed"}
    text = (folder / "known.toml").read_text()
    entries = text.split("\n[[known]]\n")
    kept = [one for one in entries if "fs.init_path" not in one and "comm.broadcast_object" not in one]
    gone = next(one for one in entries if "test_a_run_that_hangs" in one)
    gone = re.sub(
        r'name = ".*"', 'name = "gone"', gone.replace("test_a_run_that_hangs", "test_one_that_holds")
    )
    gone = re.sub(r'plan = ".*"', 'plan = "writer.finish@0=raise(ValueError)"', gone)
    (folder / "ours.toml").write_text("\n[[known]]\n".join([*kept, gone]))
    again = run_pytest(
        folder,
        "-rxf",
        "--faultkit-known",
        "ours.toml",
        "--faultkit-known",
        "builtin",
        "-k",
        "not place",
        "-n",
        "2",
    )
    return folder, first, again


def test_what_ended_tests_is_written_once_for_each(sessions):
    folder, first, _ = sessions
    names = {
        (entry.name, entry.examples[0].scenario.rpartition("::")[2])
        for entry in read_file(str(folder / "known.toml"))
    }
    assert {test for _, test in names} >= {
        "test_a_body_that_hangs",
        "test_a_run_that_hangs",
        "test_another_place",
        "test_a_second_known_one",
    }
    assert f"faultkit: {len(names)} entries added to known.toml, accepted for 30 days" in first.output


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("test_a_body_that_hangs", "skipped"),
        ("test_a_run_that_hangs", "skipped"),
        ("test_a_second_known_one", "skipped"),  # by the catalogue
        ("test_an_assertion_of_its_own_beside_it", "failed"),
        ("test_one_that_holds", "passed"),
    ],
)
def test_a_test_that_only_known_ones_end_is_expected_to_fail(sessions, name, outcome):
    _, _, again = sessions
    [case] = [one for key, one in again.cases.items() if key.startswith(f"{name}[")]
    assert case.outcome == outcome, case.text


def test_the_reason_has_the_name(sessions):
    _, _, again = sessions
    assert re.search(
        r"XFAIL test_known.py::test_a_body_that_hangs\S* - known: hung-writer.reset-raise", again.output
    )
    assert re.search(
        r"XFAIL test_known.py::test_a_second_known_one\S* - known: dcp-error-of-a-collective", again.output
    )


def test_what_is_known_and_what_is_gone_is_told_at_the_end(sessions):
    _, _, again = sessions
    assert re.search(r"faultkit: \d known, by name: .*dcp-error-of-a-collective 1", again.output)
    assert "faultkit: no longer seen: gone: remove it from ours.toml" in again.output
    assert again.output.count("no longer seen") == 1


def test_a_bad_file_ends_the_session_in_one_line(tmp_path):
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    (tmp_path / "bad.toml").write_text("[[known]]\nname = 3\n")
    run = run_pytest(tmp_path, "--faultkit-known", "bad.toml")
    assert run.status == 4 and "ERROR: --faultkit-known: bad.toml: entry 1: name must be text" in run.output
    run = run_pytest(tmp_path, "--faultkit-write-known", "test_nothing.py")
    assert run.status == 4 and "--faultkit-write-known adds to a file of known violations" in run.output
