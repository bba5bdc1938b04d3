import shlex

from faultkit.checks import Violation
from faultkit.plan import FaultPlan
from faultkit.report.story import render_story, replay_command
from faultkit.runs.outcomes import ErrorRecord
from tests.helpers.finished_runs import (
    FinishedRun,
    Recording,
    checkpoint_error,
    injected,
    reported_save,
    successful,
)

PLAN = "writer.write_data@2=raise(ValueError)"
STACK = """Thread 0x00007f0b (most recent call first):
  File "/venv/torch/distributed/checkpoint/utils.py", line 131 in gather_object
  File "/home/me/train.py", line 12 in save
  File "/usr/lib/python3.11/threading.py", line 1002 in run
"""


def hung_run(**changes):
    plan = "comm.gather_object@2=raise(ValueError)"
    recording = Recording(plan).begin(range(4)).enter(range(4), "plan").fire(2, step="plan")
    recording.end([2], injected(plan)).raised([2], injected(plan)).hung([0, 1, 3], STACK, "for rank 2")
    return recording.run(**changes)


def test_the_story_starts_with_verdict_plan_and_world():
    lines = render_story(reported_save(PLAN, step="write", fired_on={2: 0}).run()).splitlines()
    assert lines[0] == "HELD: every promise was kept"
    assert lines[1] == f"  plan   {PLAN}"
    assert lines[2] == "  world  4 ranks, warm, 1.5 s"


def test_it_ends_with_a_command_that_replays_the_plan():
    plan = 'writer.write_data@2=raise(ValueError, "it\'s; gone")'
    run = reported_save(plan, step="write", fired_on={2: 0}).run(kind="fresh")
    assert render_story(run).splitlines()[-1] == f"replay: {replay_command(run)}"
    words = shlex.split(replay_command(run))
    assert words[:2] == ["faultkit", "replay"]
    assert FaultPlan.parse(words[2]) == run.plan
    assert words[3:] == ["--world", "4", "--kind", "fresh"]


def test_another_command_or_none_stands_in_its_place():
    run = reported_save(PLAN, step="write", fired_on={2: 0}).run()
    before = render_story(run).removesuffix(f"\n\nreplay: {replay_command(run)}")
    assert "replay:" not in before and before != render_story(run)
    assert render_story(run, replay=None) == before
    assert render_story(run, replay="make it so") == f"{before}\n\nreplay: make it so"


def test_a_recursion_is_told_as_the_interpreter_does():
    frames = (("/home/me/train.py", 3, "save"), *[("/home/me/train.py", 9, "again")] * 50)
    text = ErrorRecord(
        type_name="RecursionError", module="builtins", message="", frames=frames
    ).traceback_text
    assert text.count("in again") == 3 and "[Previous line repeated 47 more times]" in text
    assert text.startswith("Traceback (most recent call last):\n") and text.endswith("\nRecursionError\n")


def test_the_order_is_that_of_cause_and_effect():
    story = render_story(hung_run(output={0: "saving\n"}))
    titles = ["HUNG:", "What was injected", "What each rank saw", "What should have held", "Where ranks hung",
              "What the ranks printed", "replay:"]  # fmt: skip
    places = [story.index(title) for title in titles]
    assert places == sorted(places)


def test_a_fired_fault_is_told_with_rank_call_step_and_time():
    story = render_story(reported_save(PLAN, step="write", fired_on={2: 0}).run())
    told = " ".join(story.split())
    assert "rank 2: raise(ValueError) before call 1 of writer.write_data, in step 'write' of save 1, " in told
    assert "0.016 s into the run" in told


def test_the_users_code_stands_in_the_story_of_an_error_and_of_a_deep_stack():
    frames = (("/venv/site-packages/torch/nn.py", 3, "forward"), ("/home/me/train.py", 12, "save"))
    error = ErrorRecord(type_name="KeyError", message="'x'", frames=frames)
    told = render_story(successful().raised([1, 2], error).run()).partition("Where it was raised\n")[2]
    assert told.startswith("  ranks 1, 2, innermost call first\n    save (me/train.py:12)\n\nreplay: ")
    deep = "".join(f'  File "/venv/torch/distributed/deep.py", line {n} in call\n' for n in range(100))
    stack = f'Thread 0x1 (most recent call first):\n{deep}  File "/home/me/train.py", line 12 in save\n'
    told = render_story(Recording().begin(range(4)).hung([1], stack).run()).partition("Where ranks hung\n")[2]
    assert "call (distributed/deep.py:0)\n" in told and "    save (me/train.py:12)\n" in told
    assert "... 62 more ...\n" in told and len(told.splitlines()) < 50


def test_a_plan_that_fired_nothing_says_so():
    assert "nothing fired" in render_story(successful(PLAN).run())


def test_ranks_with_the_same_story_are_told_together():
    other = ErrorRecord(type_name="TypeError", message="cannot pickle")
    story = render_story(reported_save(PLAN, step="write", fired_on={2: 0}, told_to={1: other}).run())
    told = " ".join(story.split())
    assert "ranks 0, 2, 3: save 1 raised CheckpointException in step 'write' naming rank 2" in told
    assert "rank 1: save 1 raised TypeError: cannot pickle" in told


def test_the_first_rank_to_fail_is_told_first_with_the_time_since_the_fault():
    recording = Recording(PLAN).begin(range(4)).enter(range(4), "write").fire(2, step="write")
    error = checkpoint_error("write", {2: injected(PLAN)})
    recording.end([3], error).raised([3], error).end([0, 1, 2])
    lines = [line for line in render_story(recording.run()).splitlines() if "  +" in line]
    assert "rank 3: save 1 raised" in lines[0]
    assert "+0.001" in lines[0]
    assert "ranks 0-2: save 1 succeeded" in lines[1]


def test_a_planned_death_is_told_before_what_it_did_to_the_others():
    recording = Recording("writer.write_data@2=kill").begin(range(4)).enter(range(4), "write")
    lost = ErrorRecord(type_name="RuntimeError", message="Connection closed by peer")
    recording.fire(2, step="write").died([2]).end([0, 1, 3], lost).raised([0, 1, 3], lost)
    lines = [line for line in render_story(recording.run()).splitlines() if "  +" in line]
    assert "+0.000  rank 2: died in save 1, as planned" in lines[0]
    assert "+0.001  ranks 0, 1, 3: save 1 raised RuntimeError: Connection closed by peer" in lines[1]


def test_each_violation_is_told_with_its_evidence():
    story = " ".join(render_story(hung_run()).split())
    assert "HUNG (liveness): ranks 0, 1, 3 never came back" in story


def test_equal_stacks_are_told_once_and_without_machinery():
    story = render_story(hung_run())
    assert story.count("gather_object (checkpoint/utils.py:131)\n") == 1
    section = story[story.index("Where ranks hung") :]
    assert "ranks 0, 1, 3, innermost call first" in section
    assert "save (me/train.py:12)" in section
    assert "threading.py" not in story


def test_the_end_of_what_each_rank_printed_is_shown():
    output = {0: "\n".join(f"line {number}" for number in range(100)), 1: "", 3: "one\n"}
    story = render_story(hung_run(output=output))
    assert "rank 0, its last 20 of 100 lines" in story
    assert "| line 80\n" in story
    assert "line 79" not in story
    assert "  rank 3\n    | one" in story
    assert "  rank 1\n" not in story


OBEYED = "\x1b]0;title\x07\x1b[31mred\x1b[0m\x08\x9b2J\u202egnol\u202c\udcff[bold]"
WRITTEN = r"\x1b]0;title\x07\x1b[31mred\x1b[0m\x08\x9b2J\u202egnol\u202c\udcff[bold]"


def test_what_a_terminal_would_obey_is_written_out():
    told = {2: ErrorRecord(type_name="ValueError", message=OBEYED)}
    recording = reported_save(PLAN, step="write", fired_on={2: 0}, told=told)
    story = render_story(recording.run(output={0: f"\tprinted {OBEYED}"}))
    assert story.count(WRITTEN) >= 2
    assert "\tprinted" in story and all(line.isprintable() for line in story.replace("\t", "").splitlines())


def test_a_message_of_megabytes_is_clipped():
    plan = PLAN
    told = {2: ErrorRecord(type_name="ValueError", message=injected(plan).message + "x" * 3_000_000)}
    recording = reported_save(plan, step="write", fired_on={2: 0}, told=told)
    story = render_story(recording.run(output={0: "y" * 3_000_000, 1: "\n" * 3_000_000 + "z"}))
    assert len(story) < 10_000
    assert "characters)" in story


def test_a_prevented_fault_is_told():
    plan = "planner.create_local_plan@1=raise(ValueError); writer.write_data@2=raise(KeyError)"
    story = " ".join(render_story(reported_save(plan, step="plan", fired_on={1: 0}).run()).split())
    assert "'writer.write_data@2=raise(KeyError)' did not fire on rank 2" in story


def test_a_world_of_one_and_an_empty_plan_read_well():
    story = render_story(successful(size=1).run())
    assert "(empty: nothing is injected)" in story
    assert "  world  1 rank," in story
    assert "faultkit replay '' --world 1" in story


def test_the_verdict_is_that_of_the_violations_which_the_run_itself_found():
    class Examined(FinishedRun):
        violations: tuple[Violation, ...] = ()

    assert render_story(Examined(FaultPlan.parse(PLAN), 4, {})).startswith("HELD")


def test_the_story_says_how_long_each_rank_took_to_know():
    class Known:
        plan, world_size, kind, outcomes, fired, events, output = "", 3, "warm", {}, (), (), {}
        violations, verdict, seconds, coordinator = (), None, 1.0, 0

        @property
        def seconds_to_know(self):
            return {0: 0.25, 1: None, 2: 0.25}

    lines = render_story(Known()).splitlines()
    start = lines.index("How long each rank took to know")
    assert lines[start + 1 : start + 3] == ["     0.250  ranks 0, 2", "     never  rank 1"]


def test_a_rank_that_never_came_to_an_attempt_is_not_told_with_it():
    recording = Recording('fs.stat(".metadata")@1=missing', 2).fire(1).begin([0], "load")
    recording.enter([0], "plan").hung([0]).raised(
        [1], ErrorRecord(type_name="AssertionError", message="none")
    )
    story = render_story(recording.run())
    assert "rank 1: raised AssertionError: none, before it came to load 1" in story
    assert "rank 0: hung in load 1" in story
    assert "missing before call 1 of fs.stat, before it came to load 1" in story
    assert "load 1 raised" not in story and "ranks 0, 1" not in story.partition("at the end")[0]
