"""The plugin costs a suite that does not use it nothing, and says what it offers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.helpers.stuck import SECONDS_MAX

pytestmark = pytest.mark.slow

HEAVY = ("torch", "numpy", "hypothesis", "msgspec", "cloudpickle", "faultkit", "rich", "jinja2")


def test_loading_it_imports_nothing_heavy(pytester):
    pytester.makeconftest(
        f"""
        import sys

        def pytest_sessionfinish(session):
            loaded = sorted(name for name in {HEAVY!r} if name in sys.modules)
            ours = sorted(name for name in sys.modules if name.startswith("pytest_faultkit"))
            print("\\nloaded:", loaded, ours)
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("value", [1, 2])
        def test_it(value, tmp_path):
            assert value
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-W", "error", "-n0")
    result.assert_outcomes(passed=2)
    own = [f"pytest_faultkit{module}" for module in ("", ".fixtures", ".names", ".plugin")]
    assert f"loaded: [] {own}" in result.outlines
    result.stdout.no_fnmatch_line("faultkit: *")  # and no summary where there is nothing to sum up


def test_the_module_alone_imports_only_pytest_and_the_standard_library():
    program = (
        "import sys, pytest; before = set(sys.modules); import pytest_faultkit.plugin; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(sorted(new - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS_MAX
    )
    assert done.stdout == "['pytest_faultkit']\n", done.stderr


MARKED = """
    import pytest

    @pytest.mark.world(2)
    @pytest.mark.faults("writer.write_data@1=raise(OSError)")
    def test_it():
        pass

    def test_other():
        pass
"""


def test_without_it_its_markers_are_unknown_and_nothing_breaks(pytester):
    pytester.makepyfile(MARKED)
    result = pytester.runpytest_subprocess("-p", "no:faultkit", "-p", "no:randomly")
    result.assert_outcomes(passed=2, warnings=2)
    result.stdout.fnmatch_lines(["*PytestUnknownMarkWarning: Unknown pytest.mark.world*"])
    strict = pytester.runpytest_subprocess("-p", "no:faultkit", "--strict-markers")
    assert strict.ret == pytest.ExitCode.INTERRUPTED
    strict.stdout.fnmatch_lines(["*'world' not found in `markers` configuration option"])
    strict.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_its_markers_are_known_and_described(pytester):
    pytester.makepyfile(MARKED)
    result = pytester.runpytest_inprocess("--strict-markers", "--collect-only", "-q", "-p", "no:randomly")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*::test_it[[]writer.write_data@1=raise(OSError)]", "*::test_other"])
    pytester.runpytest_inprocess("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.world(size, *", "@pytest.mark.faults(plan, *", "@pytest.mark.spmd: *"]
    )


def test_its_options_and_fixtures_are_described(pytester):
    help_text = pytester.runpytest_inprocess("--help").stdout
    help_text.fnmatch_lines(
        [
            "faults in distributed checkpoints:",
            "*--faultkit-kind=KIND*",
            "*--faultkit-timeout=SECONDS*",
            "*--faultkit-report=PATH*",
            "*--faultkit-replay=PLAN_OR_FILE*",
        ]
    )
    fixtures = pytester.runpytest_inprocess("--fixtures").stdout
    for name in ("world", "plan", "faulty_writer", "faulty_reader", "checkpoint_dir"):
        fixtures.re_match_lines([f"{name} -- .*pytest_faultkit.fixtures.py:\\d+"])
        fixtures.no_fnmatch_line(f"{name}*no docstring available*")


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        (
            "--faultkit-kind",
            "warn",
            "*--faultkit-kind: invalid choice: 'warn' (choose from *warm*fresh*spawn*)",
        ),
        ("--faultkit-timeout", "soon", "*--faultkit-timeout: invalid float value: 'soon'"),
        ("--faultkit-timeout", "0", "*--faultkit-timeout must be a number of seconds above 0*(got 0)"),
        ("--faultkit-timeout", "nan", "*--faultkit-timeout must be a number of seconds above 0*(got nan)"),
        ("--faultkit-report", ".", "*--faultkit-report must name a file (got '.')"),
        (
            "--faultkit-report",
            "test_file.py/x.json",
            "*--faultkit-report must lie in a directory*test_file.py*",
        ),
        ("--faultkit-report", "x" * 300, "*--faultkit-report must name a file that can*File name too long*"),
        (
            "--faultkit-report",
            "/proc/runs.json",
            "*--faultkit-report must lie in a directory that can be written*",
        ),
        ("--faultkit-report", "", "*--faultkit-report must name a file (got '')"),
        ("--faultkit-replay", "writer.write_dat=raise(OSError)", "*--faultkit-replay: *writer.write_data*"),
        ("--faultkit-replay", "no/such/file.txt", "*--faultkit-replay: *"),
        ("--faultkit-replay", '{"faults": 3}', "*--faultkit-replay: *"),
    ],
)
def test_an_option_that_cannot_be_meant_is_a_usage_error(pytester, option, value, told):
    pytester.makepyfile(test_file="def test_it(): pass")
    result = pytester.runpytest_inprocess(f"{option}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])
    result.stderr.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*passed*")


@pytest.mark.parametrize("terminal", [(), ("-p", "no:terminal")])
def test_a_report_that_cannot_be_written_in_the_end_is_told_and_fails_the_session(pytester, terminal):
    pytester.makepyfile(test_file="def test_it(): pass")
    result = pytester.runpytest_inprocess("--faultkit-report=/dev/full", *terminal)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    if not terminal:
        result.stdout.fnmatch_lines(
            ["faultkit: the report could not be written to /dev/full: No space left on device"]
        )
    pytester.makepyfile(test_file="def test_it(): assert False")
    assert pytester.runpytest_inprocess("--faultkit-report=/dev/full", *terminal).ret == 1


def test_a_report_needs_no_terminal(pytester):
    pytester.makepyfile(test_file="def test_it(): pass")
    assert pytester.runpytest_inprocess("--faultkit-report=new/runs.json", "-p", "no:terminal").ret == 0
    assert json.loads((pytester.path / "new" / "runs.json").read_text())["plans"] == []
