"""The journal of a sweep on disk: what is there is not run again, shares are a partition, strangers run nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import pytest

from faultkit import FaultPlan
from faultkit.cli import main
from faultkit.exceptions import JournalError
from faultkit.sweep import sweep
from faultkit.sweep.journal_file import merged, read_journal, share_of

PLANS = [FaultPlan.parse(f"writer.write_data@{rank}=raise(ValueError)") for rank in range(40)]
WORK = {"world": 2, "kind": "simulated"}


@hypothesis.given(
    count=st.integers(1, 9),
    plans=st.lists(st.sampled_from(PLANS), unique=True, max_size=40),
    seconds=st.dictionaries(st.sampled_from([str(plan) for plan in PLANS]), st.floats(0, 100), max_size=40),
)
def test_shares_are_disjoint_and_together_all(count, plans, seconds):
    shares = [share_of(plans, (number, count), seconds) for number in range(1, count + 1)]
    assert sorted(place for share in shares for place in share) == list(range(len(plans)))


def test_shares_are_balanced_by_the_seconds_that_are_known():
    seconds = {str(plan): 100.0 if place < 2 else 1.0 for place, plan in enumerate(PLANS)}
    first, second = (share_of(PLANS, (number, 2), seconds) for number in (1, 2))
    assert len(first & {0, 1}) == len(second & {0, 1}) == 1 and len(first) == len(second) == 20


def told(journal):
    return [(str(result.plan), result.verdict, result.violations) for result in journal.results]


@pytest.fixture(scope="module")
def whole():
    return sweep("dcp-save", **WORK)


@pytest.mark.slow
def test_the_shares_of_a_sweep_merge_to_the_same(tmp_path, whole):
    paths = [str(tmp_path / f"{number}.jsonl") for number in (1, 2, 3)]
    for number, path in enumerate(paths, 1):
        sweep("dcp-save", **WORK, journal_path=path, share=(number, 3))
    found = merged(paths)
    assert told(found) == told(whole) and found.totals == whole.totals and not found.is_cut_off
    assert merged(paths[:2]).is_cut_off


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 1, 5])
def test_what_a_journal_holds_is_not_run_again_and_a_torn_line_is(tmp_path, whole, kept):
    path = tmp_path / "journal"
    sweep("dcp-save", **WORK, journal_path=str(path))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: kept + 1]) + lines[kept + 1][:40])
    ran = []
    found = sweep("dcp-save", **WORK, journal_path=str(path), on_progress=lambda one: ran.append(one.latest))
    assert told(found) == told(whole)
    assert sum(one is not None for one in ran) == len(whole.results) - kept
    assert len(path.read_bytes().splitlines()) == len(lines)


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_where_it_was(tmp_path, whole):
    path = tmp_path / "journal"
    command = [sys.executable, "-m", "faultkit", "sweep", "dcp-save", "--world", "2", "--kind", "simulated"]
    with subprocess.Popen([*command, "--resume", str(path)], stdout=subprocess.DEVNULL) as running:
        while running.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 4):
            os.sched_yield()
        running.send_signal(signal.SIGKILL)
    before = read_journal(str(path))[1]
    assert len(before) >= 3
    found = sweep("dcp-save", **WORK, journal_path=str(path))
    assert told(found) == told(whole)
    indices = [json.loads(line)["index"] for line in path.read_bytes().splitlines()[1:]]
    assert sorted(indices) == list(range(len(whole.results)))


@pytest.mark.slow
def test_a_journal_of_another_sweep_is_refused_with_the_difference(tmp_path):
    path = str(tmp_path / "journal")
    plans = [FaultPlan.parse("writer.write_data@1=raise(ValueError)")]
    sweep("dcp-save", **WORK, plans=plans, journal_path=path)
    before = (tmp_path / "journal").read_bytes()
    with pytest.raises(JournalError, match=r"of another sweep: it has seed 0, not 7"):
        sweep("dcp-save", **WORK, plans=plans, journal_path=path, seed=7)
    assert (tmp_path / "journal").read_bytes() == before


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no whole line"),
        (b"garbage\n", "line 1"),
        (b'{"journal": 1}\n', "line 1"),
        (b"[1, 2]\n", "line 1"),
    ],
)
def test_what_is_no_journal_is_told_in_a_line(tmp_path, data, why, capsys):
    (tmp_path / "journal").write_bytes(data)
    with pytest.raises(JournalError, match=why):
        read_journal(str(tmp_path / "journal"))
    with pytest.raises(SystemExit) as ended:
        main(["merge", str(tmp_path / "journal")])
    assert ended.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_share_that_cannot_be_meant_is_refused(shard, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "dcp-save", "--shard", shard])
    assert ended.value.code == 2 and "--shard must be I/N" in capsys.readouterr().err
