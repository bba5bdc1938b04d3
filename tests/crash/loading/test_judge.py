"""Every verdict, from a load that really does it; and that nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from faultkit import crash
from faultkit.crash import Judge
from faultkit.crash.loading.world_judge import WorldJudge
from faultkit.exceptions import ScenarioError
from faultkit.worlds import HarnessError
from tests.helpers.crash_loads import (
    is_a_key_error,
    load_beyond_python,
    load_by_held_names,
    load_slyly,
    load_with_a_library,
    load_with_an_extension,
    load_with_words_of_its_own,
    say_no_to_twos,
    scenario,
    state,
    tree,
)
from tests.helpers.stuck import SECONDS_MAX
from tests.helpers.tapes import Tape

pytestmark = pytest.mark.slow

NEW, OLD = tree(value=b"2 2 2 2", other=b"other"), tree(value=b"1 1 1 1", other=b"other")


@pytest.fixture(scope="module")
def judge():
    with Judge(scenario(), workers=1, timeout_seconds=1.0, memory_bytes=1 << 28) as judge:
        judge.expect(NEW, OLD)
        yield judge


def verdicts(judge, *texts):
    states = [
        state(f"{number}-{text}", tree(value=text, other=b"other")) for number, text in enumerate(texts)
    ]
    return {s.tree["checkpoint/value"]: judgement for s, judgement in judge.judge_many(states)}


@pytest.mark.parametrize(
    ("text", "verdict", "told"),
    [
        (b"2 2 2 2", "NEW", ""),
        (b"1 1 1 1", "OLD", ""),
        (b"1 2 2 1", "MIX", "target: 2 elements are new and 2 old"),
        (b"2 2 3 2", "GARBAGE", "target: 1 of 4 elements are neither new nor old"),
        (b"2 2", "GARBAGE", "target: 2 of 4 elements were never filled"),
        (b"none", "ABSENT", "load returned None"),
        (b"absent .metadata", "ABSENT", ""),
        (b"absent shard", "ERROR", ""),
        (b"raise", "ERROR", ""),
        (b"hang", "HUNG", "no result within 1 s"),
        (b"abort", "DIED", "signal SIGABRT"),
        (b"exit", "DIED", "sys.exit(3)"),
        (b"eat", "ERROR", ""),
    ],
)
def test_every_verdict_comes_from_what_the_load_does(judge, text, verdict, told):
    judgement = verdicts(judge, text)[text]
    assert judgement.verdict == verdict
    assert told in judgement.detail
    if text == b"hang":
        assert "in load" in judgement.stack and "loads.py" in judgement.stack
    if text == b"raise":
        assert (judgement.type_name, judgement.message) == ("RuntimeError", "the file says so")
    if text == b"eat":
        assert "allocate" in judgement.message or judgement.type_name == "MemoryError"


def test_a_load_that_was_only_slow_is_tried_once_more(judge, tmp_path):
    slow = f"slow {tmp_path / 'tried'} 2 2 2 2".encode()
    assert verdicts(judge, slow)[slow].verdict == "NEW"
    assert (tmp_path / "tried").exists()


def test_a_load_finds_the_environment_of_a_rank_that_is_alone():
    with Judge(scenario(), workers=2) as judge:
        judge.expect(NEW, OLD)
        found = verdicts(judge, b"alone 2 2 2 2", b"alone 1 1 1 1")
    assert {text: one.verdict for text, one in found.items()} == {
        b"alone 2 2 2 2": "NEW",
        b"alone 1 1 1 1": "OLD",
    }


PREPARING = """
import os, sys
from faultkit.crash.loading import load_worker
made = []
sys.addaudithook(lambda event, given: made.append(given[0]) if event == "os.mkdir" else None)
load_worker._prepare(sys.argv[1])
print(*made, sep="\\n")
"""


def test_a_process_that_loads_prepares_in_a_place_that_goes_with_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PREPARING, str(tmp_path)], capture_output=True, text=True, timeout=SECONDS_MAX
    )
    assert done.returncode == 0, done.stderr
    made = done.stdout.split()
    assert made and all(Path(one).is_relative_to(tmp_path) for one in made) and not list(tmp_path.iterdir())


JUDGES = {"processes": Judge, "ranks": WorldJudge}


@pytest.fixture(params=JUDGES)
def own_judge(request):
    """One that the test may break."""
    more = {"workers": 1} if request.param == "processes" else {}
    with JUDGES[request.param](scenario(), timeout_seconds=2.0, **more) as judge:
        judge.expect(NEW, OLD)
        yield judge


def test_a_failure_of_faultkit_where_it_loads_is_no_verdict(own_judge):
    assert own_judge.judge(state("theirs", tree(value=b"raise-the-same"))).verdict == "ERROR"
    with pytest.raises(
        HarnessError, match=r"^faultkit failed where a state was loaded: .*TypeError: 'NoneType'"
    ):
        own_judge.judge(state("ours", tree(value=b"break-faultkit")))


BURNING = """
import os, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
print(flush=True)
until = time.monotonic() + 60
while time.monotonic() < until: pass
"""


def test_a_load_that_hardly_gets_a_core_is_not_hung(judge):
    core = str(min(os.sched_getaffinity(0)))
    burners = [
        subprocess.Popen([sys.executable, "-c", BURNING, core], stdout=subprocess.PIPE) for _ in range(4)
    ]
    try:
        for burner in burners:
            burner.stdout.read(1)
        text = f"compute {core} 0.4 1 1 1 1".encode()  # two seconds, of which one is all that a load may take
        assert verdicts(judge, text)[text].verdict == "OLD"
    finally:
        for burner in burners:
            burner.kill()
            burner.communicate()


def test_ranks_that_were_only_slow_are_tried_once_more(tmp_path):
    with WorldJudge(scenario(), timeout_seconds=2.0) as judge:
        judge.expect(NEW, OLD)
        slow = tree(value=f"slow {tmp_path / 'tried'} 1 1 1 1".encode())
        assert judge.judge(state("slow", slow)).verdict == "OLD" and (tmp_path / "tried").exists()
        assert judge.judge(state("hang", tree(value=b"hang"))).verdict == "HUNG"
        assert judge.judge(state("after", NEW)).verdict == "NEW"


def test_values_that_cannot_be_compared_elsewhere_are_refused():
    with (
        Judge(scenario(), workers=1) as judge,
        pytest.raises(ScenarioError, match=r"must load .*got ERROR: .*ickle"),
    ):
        judge.expect(tree(value=b"unpicklable"), OLD)


def test_what_a_load_raises_where_nothing_is_is_absent_in_any_words():
    with Judge(scenario(load_with_words_of_its_own), workers=1) as judge:
        judge.expect(NEW)
        told = {
            name: judge.judge(state(name, held)).verdict
            for name, held in {
                "nothing": {"beside": b""},
                "an empty directory": {"checkpoint": None},
                "no value": tree(other=b"other"),
                "no other": tree(value=b"2 2 2 2"),
            }.items()
        }
    assert told == {
        "nothing": "ABSENT",
        "an empty directory": "ABSENT",
        "no value": "ABSENT",
        "no other": "ERROR",
    }


def test_values_of_a_finished_save_from_which_nothing_follows_are_refused():
    with Judge(scenario(refuse=say_no_to_twos), workers=1) as judge:
        with pytest.raises(ScenarioError, match=r"^scenario 'written': all of \[2.0, 2.0, 2.0, 2.0\] are 2$"):
            judge.expect(NEW, OLD)
        judge.expect(OLD, NEW)


def test_a_rule_of_ones_own_for_what_is_absent_counts_alone():
    with Judge(scenario(load_with_words_of_its_own, absent=is_a_key_error), workers=1) as judge:
        judge.expect(NEW)
        assert judge.judge(state("nothing", {})).verdict == "ERROR"


def test_a_state_that_looks_the_same_to_the_load_is_not_loaded_again(judge):
    before = judge.loaded
    found = verdicts(judge, b"2 2 2 2 ", b"raise ")  # new contents, so each is loaded once
    assert judge.loaded == before + 2
    unread = [state(f"unread-{n}", tree(value=b"2 2 2 2 ", other=b"%d" % n)) for n in range(5)]
    again = [judgement for _, judgement in judge.judge_many(unread)]
    assert judge.loaded == before + 2
    assert {(j.verdict, j.loaded) for j in again} == {("NEW", False)}
    assert found[b"raise "].loaded


def test_a_load_that_writes_to_its_files_damages_no_other_state(judge):
    vandal = tree(value=b"vandal", other=b"precious")
    assert judge.judge(state("vandal", vandal)).verdict == "NEW"
    assert judge.wrote == 1
    assert next(
        path for path in judge._loaders.objects.directory.iterdir() if path.read_bytes() == b"precious"
    )


@pytest.mark.parametrize(("numbers", "verdict"), [("2", "NEW"), ("", "HUNG")])
def test_what_a_load_starts_in_a_session_of_its_own_ends_with_it(judge, tmp_path, numbers, verdict):
    text = f"leave {tmp_path / 'told'} {numbers}".encode()
    assert verdicts(judge, text)[text].verdict == verdict
    assert not psutil.pid_exists(int((tmp_path / "told").read_text()))


def test_a_load_that_does_not_fill_its_target_is_told_before_anything_is_judged():
    with (
        Judge(scenario(), workers=1) as judge,
        pytest.raises(ScenarioError, match=r"the same whatever stood there before .*target"),
    ):
        judge.expect(tree(value=b"2 2"), OLD)


def test_old_and_new_must_differ():
    with Judge(scenario(), workers=1) as judge, pytest.raises(ScenarioError, match="must differ"):
        judge.expect(NEW, NEW)


def every_way_to_look():
    base = {
        "first": b"one\ntwo",
        "second": b"abcdefgh",
        "third": b"0123",
        "mapped": b"m",
        "sized": b"12345",
        "a.new": b"",
        "latest": "first",
        "folder": None,
        "folder/a.part": b"",
        "folder/deep": None,
    }
    yield tree(**base)
    changes = {
        "first": [b"one\ntwO", b"", ...],
        "second": [b"abcxefgh", b"abcdexgh", b"abcdefgx", b"ab", ...],
        "third": [b"0923", b"9123", b"0129", b"", ...],
        "mapped": [b"n", b"", ...],
        "sized": [b"54321", b"1234", ...],
        "a.new": [...],
        "b.new": [b""],
        "latest": ["second", ...],
        "folder/a.part": [...],
        "folder/b.part": [b""],
        "folder/deep": [b"a file", ...],
    }
    for name, values in changes.items():
        for value in values:
            changed = {**base, name: value}
            yield tree(**{key: content for key, content in changed.items() if content is not ...})


def test_pruning_changes_no_verdict_however_the_load_looks_at_files():
    trees = list(every_way_to_look())
    new, old = trees[0], tree(second=b"other")
    found = {}
    for pruning in (True, False):
        with Judge(scenario(load_slyly), workers=1, pruning=pruning) as judge:
            judge.expect(new, old)
            loaded = judge.loaded
            states = [state(number, files) for number, files in enumerate(trees)]
            found[pruning] = {s.key: (j.verdict, j.detail, j.message) for s, j in judge.judge_many(states)}
            assert (judge.loaded - loaded < len(trees)) is pruning
    assert found[True] == found[False]
    assert len({verdict for verdict, _, _ in found[True].values()}) >= 3


def test_a_load_that_reads_where_nobody_can_look_is_not_pruned():
    with Judge(scenario(load_beyond_python), workers=1) as judge:
        judge.expect(tree(value=b"new"), tree(value=b"old"))
        assert not judge.pruning
        found = [
            judge.judge(state(n, tree(value=text))).verdict for n, text in enumerate([b"new", b"old", b"x"])
        ]
    assert found == ["NEW", "OLD", "GARBAGE"]


def test_a_name_that_is_looked_up_by_a_function_held_elsewhere_is_asked_for():
    base = {"value": b"2", "a": b"", "b": b"", "c": b"", "d": "value"}
    others = [
        *({name: content for name, content in base.items() if name != left} for left in base),
        {**base, "b": b"longer"},
        {**base, "e": b""},
    ]
    with Judge(scenario(load_by_held_names), workers=1) as judge:
        judge.expect(tree(**base), tree(value=b"1"))
        assert judge.pruning
        assert judge.judge(state("base", tree(**base))).verdict == "NEW"
        for number, files in enumerate(others):
            assert judge.judge(state(number, tree(**files))).verdict in ("MIX", "GARBAGE", "ERROR"), files
        loaded = judge.loaded
        assert judge.judge(state("more", tree(**base, unasked=b""))).verdict == "NEW"
        assert judge.loaded == loaded


def test_a_load_that_calls_a_library_is_not_pruned():
    with Judge(scenario(load_with_a_library), workers=1) as judge:
        judge.expect(tree(value=b"2", ok=b""), tree(value=b"1", ok=b""))
        assert not judge.pruning
        assert judge.judge(state("without", tree(value=b"2"))).verdict == "ERROR"


def test_a_name_that_only_c_looks_up_is_found_out_by_an_audit():
    tape = Tape({"checkpoint": None, "checkpoint/value": b"1", "checkpoint/ok": b""})
    tape.put("checkpoint/value", b"2", sync=True)
    for number in range(20):  # states enough for a look at two of them to miss the one without "ok"
        tape.put(f"checkpoint/other{number}", b"x", sync=True)
    tape.do("unlink", "checkpoint/ok").put("checkpoint/ok", b"", sync=True)
    recording = tape.returned().recording()
    with pytest.raises(ScenarioError, match=r"where Python does not see it.*pruning=False"):
        crash.explore(scenario(load_with_an_extension), ("killed",), recording=recording, workers=1)


def test_nothing_is_left(judge):
    place = judge._loaders.objects.directory.parent
    with Judge(scenario(), workers=2) as other:
        left = [other._loaders.objects.directory.parent, *map(Path, _processes_of(other))]
        assert all(path.exists() for path in left)
    assert not any(path.exists() for path in left)
    assert {path.name for path in place.iterdir()} >= {"objects"}
    assert not list(place.glob("attendant-*/*"))  # the tree of each load is gone


def _processes_of(judge):
    place = judge._loaders.objects.directory.parent
    return [f"/proc/{path.name.rpartition('-')[2]}" for path in place.glob("attendant-*")]


def test_a_caller_that_stops_early_leaves_no_answer_for_the_next(judge):
    states = [state(f"early-{n}", tree(value=b"1 1 1 1" + b" " * n, other=b"other")) for n in range(6)]
    pairs = judge.judge_many(states)
    next(pairs)
    pairs.close()
    assert verdicts(judge, b"2 2 2 2  ")[b"2 2 2 2  "].verdict == "NEW"
