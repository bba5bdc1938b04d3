"""Standard input, output and error that are closed, full, or read by somebody who has seen enough."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SECONDS_MAX = 100.0
FAULTKIT = f"{sys.executable} -m faultkit"


def shell(command, **options):
    """(status, standard output, standard error) of a command of bash, whose status is that of the first of a pipe."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("redirections", "status", "told"),
    [
        (">&-", 2, "standard output must be open; send it to /dev/null to see none of it"),
        ("2>&-", 2, "standard error must be open; send it to /dev/null to see none of it"),
        (">&- 2>&-", 2, ""),
        (">/dev/full", 2, "standard output cannot be written: No space left on device"),
        ("2>/dev/full", 0, ""),
        ("<&- >/dev/null 2>/dev/null", 0, ""),
        ("> >(true)", 0, ""),
    ],
)
def test_output_that_cannot_be_written_is_a_mistake_in_one_line(redirections, status, told):
    found, out, err = shell(f"{FAULTKIT} points --json {redirections}")
    assert found == status
    if told:
        assert [line for line in (out + err).splitlines() if line] == [f"faultkit: {told}"]


@pytest.mark.parametrize("redirections", ["2>/dev/full", "2>&1 >/dev/null | true"])
def test_a_mistake_that_nobody_can_read_is_one_all_the_same(redirections):
    assert shell(f"{FAULTKIT} sweep no-such-scenario {redirections}") == (2, "", "")


@pytest.mark.parametrize(("plan", "status"), [("", 0), ("writer.finish#2=delay(0.1)", 1)])
def test_the_status_says_what_was_found_also_where_the_reader_has_gone(plan, status):
    # standard input is closed, too: no socket of a rank may get its number
    command = f"{FAULTKIT} replay '{plan}' --world 1 --json - <&- | true"
    assert shell(command, env={**os.environ, "FAULTKIT_SLOTS": "0"})[0] == status


def test_a_current_directory_that_is_gone_is_a_mistake(tmp_path):
    command = f"mkdir gone; cd gone; rmdir ../gone; {FAULTKIT} sweep dcp-save"
    status, out, err = shell(command, cwd=tmp_path)
    assert (status, out) == (2, "")
    assert (
        err
        == "faultkit: the current directory cannot be used: No such file or directory; go to another one\n"
    )
