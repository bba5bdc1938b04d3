"""A marker that cannot be followed is an error of collection of one line; no rank is started for it."""

from __future__ import annotations

import pytest

from tests.helpers.pytest_runs import run_pytest

pytestmark = pytest.mark.slow

WRONG = {
    "unknown_check": (
        "@pytest.mark.faults('', no_check='leakz')\ndef test_it(): pass",
        "test_it: check must be one of *; did you mean 'leaks'?*",
    ),
    "no_check_left": (
        "@pytest.mark.world(2, checks='leaks', no_check=['leaks'])\ndef test_it(): pass",
        "test_it: no check is left of leaks*",
    ),
    "plan": (
        '@pytest.mark.faults("writer.write_dat@1=raise(OSError)")\ndef test_it(): pass',
        "test_it: *unknown point 'writer.write_dat'*did you mean 'writer.write_data'?",
    ),
    "no_plan": (
        "@pytest.mark.faults()\ndef test_it(): pass",
        "test_it: the marker faults needs a plan (got none)*",
    ),
    "plan_type": ("@pytest.mark.faults(3)\ndef test_it(): pass", "test_it: *(got 3*"),
    "plan_option": (
        '@pytest.mark.faults("", may_not_fir=True)\ndef test_it(): pass',
        "test_it: the marker faults has no option 'may_not_fir'; options are *'may_not_fire'*",
    ),
    "raises_a_name": (
        "@pytest.mark.faults('', raises='OSError')\ndef test_it(): pass",
        "test_it: *raises must be a type of exception or a tuple of such (got 'OSError'); nearest is raises=OSError",
    ),
    "raises_an_instance": (
        "@pytest.mark.faults('', raises=(OSError, KeyError('x')))\ndef test_it(): pass",
        "test_it: *raises must be a type of *(got KeyError('x')); nearest is raises=KeyError",
    ),
    "raises_nothing": (
        "@pytest.mark.faults('', raises=())\ndef test_it(): pass",
        "test_it: *raises must be a type of exception or a tuple of such (got ())",
    ),
    "raises_an_assertion": (
        "@pytest.mark.faults('', raises=AssertionError)\ndef test_it(): pass",
        "test_it: *raises=AssertionError would take each assert of the test that fails for what is meant; put *",
    ),
    "plan_of_two_values": (
        "@pytest.mark.faults(pytest.param('', ''))\ndef test_it(): pass",
        "test_it: the marker faults takes one plan in each pytest.param (got 2 values)",
    ),
    "may_not_fire": (
        "@pytest.mark.faults('', may_not_fire='yes')\ndef test_it(): pass",
        "test_it: the marker faults: may_not_fire must be True or False (got 'yes')",
    ),
    "allow": (
        "@pytest.mark.faults('', allow=5)\ndef test_it(): pass",
        "test_it: *allow*5*",
    ),
    "backend": (
        "@pytest.mark.world(2, backend=5)\ndef test_it(): pass",
        "test_it: World: backend must be the name of a backend *(got 5); nearest is 'gloo'",
    ),
    "crash_bound": (
        "@pytest.mark.crash(bound=5)\ndef test_it(crash_states): pass",
        "test_it: the marker crash: bound must be a faultkit.crash.Bound, or None (got 5); nearest is Bound(lost=5)",
    ),
    "crash_models": (
        "@pytest.mark.crash(models='kiled')\ndef test_it(crash_states): pass",
        "test_it: the marker crash: models must be some of the models *(got 'kiled'); did you mean 'killed'?",
    ),
    "rank": (
        '@pytest.mark.world(2)\n@pytest.mark.faults("writer.finish@2=raise(OSError)")\ndef test_it(): pass',
        "test_it: *rank 2*",
    ),
    "foreign_type": (
        '@pytest.mark.faults("writer.finish@0=raise(json:JSONDecodeError)")\ndef test_it(): pass',
        "test_it: *json:JSONDecodeError*",
    ),
    "size": (
        "@pytest.mark.world(0)\ndef test_it(): pass",
        "test_it: *size must be a number of ranks *(got 0)",
    ),
    "size_type": ('@pytest.mark.world("4")\ndef test_it(): pass', "test_it: *size must be *(got '4')"),
    "world_option": (
        "@pytest.mark.world(2, knd='warm')\ndef test_it(): pass",
        "test_it: the marker world has no option 'knd'; options are *'kind'*",
    ),
    "kind": (
        "@pytest.mark.world(2, kind='hot')\ndef test_it(): pass",
        "test_it: *kind must be one of *(got 'hot')*",
    ),
    "timeout": (
        "@pytest.mark.world(2, timeout=-1)\ndef test_it(): pass",
        "test_it: *timeout must be *(got -1)",
    ),
    "twice": (
        "@pytest.mark.world(2)\n@pytest.mark.world(3)\ndef test_it(): pass",
        "test_it: the marker world stands 2 times; one marker takes all the values",
    ),
    "spmd_argument": (
        "@pytest.mark.spmd(4)\ndef test_it(): pass",
        "test_it: the marker spmd takes no arguments (got 4); the number of ranks stands in world",
    ),
    "given": (
        "import hypothesis as h\n@pytest.mark.spmd\n@h.given(h.strategies.none())\ndef test_it(value): pass",
        "test_it: the marker spmd does not go with @given, *",
    ),
    "async": (
        "@pytest.mark.spmd\nasync def test_it(): pass",
        "test_it: the marker spmd needs a plain function*",
    ),
}


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    """What collecting all of `WRONG` prints, each in a file of its own, and one file without a mistake."""
    folder = tmp_path_factory.mktemp("wrong")
    for name, (body, _) in WRONG.items():
        (folder / f"test_{name}.py").write_text(f"import pytest\n\n{body}\n")
    (folder / "test_right.py").write_text("def test_it(): pass\n")
    return run_pytest(folder, "--collect-only", "-q", "-p", "no:xdist")


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_marker_is_one_line(collected, name):
    lines = pytest.LineMatcher(collected.output.splitlines())
    lines.fnmatch_lines([f"*ERROR collecting test_{name}.py*", WRONG[name][1]], consecutive=True)


def test_all_of_them_are_told_and_other_files_are_collected(collected):
    assert collected.status == pytest.ExitCode.INTERRUPTED
    assert "test_right.py::test_it" in collected.output
    assert "Traceback" not in collected.output and "INTERNALERROR" not in collected.output
    assert f"{len(WRONG)} errors" in collected.output and not collected.left
