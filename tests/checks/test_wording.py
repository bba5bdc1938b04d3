from pathlib import Path

import pytest

import faultkit
from faultkit.checks.wording import (
    Frame,
    clip,
    name_error,
    name_ranks,
    top_frames,
    user_frames,
    without_own_frames,
)
from faultkit.runs.outcomes import ErrorRecord
from tests.helpers.finished_runs import checkpoint_error


@pytest.mark.parametrize(
    ("ranks", "text"),
    [((), "no rank"), ((2,), "rank 2"), ((1, 0), "ranks 0, 1"), ((0, 1, 2, 5, 7, 8), "ranks 0-2, 5, 7, 8")],
)
def test_ranks_are_named_shortly(ranks, text):
    assert name_ranks(ranks) == text


def test_clipped_text_says_how_long_it_was():
    assert clip("a\n  b") == "a b"
    assert clip("x" * 1_000_000, 10) == "xxxxxxxxxx... (1,000,000 characters)"
    assert len(clip(" " * 1_000_000 + "x", 10)) < 100


def test_an_engines_error_is_told_by_rank():
    failures = {rank: ErrorRecord(type_name="ValueError", message="no") for rank in range(9)}
    text = name_error(checkpoint_error("plan", failures))
    assert text.startswith("CheckpointException in step 'plan' naming ranks 0-8 (rank 0: ValueError: no; ")
    assert text.endswith("and 5 more ranks)")
    assert name_error(None) == "an error of unknown type"


FAULTHANDLER = """
  File "/v/torch/distributed/checkpoint/utils.py", line 131 in gather_object
  File "/me/train.py", line 12 in save
"""
TRACEBACK = (
    "Traceback (most recent call last):\n"
    '  File "/me/train.py", line 12, in save\n    dcp.save(state)\n'
    '  File "/v/torch/distributed/checkpoint/utils.py", line 131, in gather_object\n'
)
PY_SPY = """Process 12: python
Thread 0x7F (idle): "worker"
    wait (threading.py:320)
Thread 0x7E (idle): "MainThread"
    gather_object (/v/torch/distributed/checkpoint/utils.py:131)
    save (/me/train.py:12)
    <module> (<string>:1)
"""


@pytest.mark.parametrize(
    "stack", [FAULTHANDLER, TRACEBACK, PY_SPY], ids=["faulthandler", "traceback", "py-spy"]
)
def test_stacks_of_each_form_are_read_innermost_first(stack):
    assert [str(frame) for frame in top_frames(stack)] == [
        "gather_object (checkpoint/utils.py:131)",
        "save (me/train.py:12)",
    ]


def test_an_unknown_form_gives_no_frames():
    assert top_frames("what is this") == ()
    assert top_frames("") == ()


OWN = str(Path(faultkit.__file__).parent / "worlds" / "rank.py")
PLUGIN = "/v/plugins/pytest_faultkit/rank_body.py"
HYPOTHESIS = "/v/lib/python3.11/site-packages/hypothesis/core.py"
ENGINE = "/v/lib/python3.11/site-packages/torch/distributed/checkpoint/utils.py"
USER = "/me/faultkit/tests/train.py"  # a folder of that name is no reason


def test_of_an_error_the_users_own_frames_are_told_and_no_others():
    files = (OWN, PLUGIN, HYPOTHESIS, Path(pytest.__file__), USER, ENGINE, USER, "<string>")
    frames = [(str(file), line, "call") for line, file in enumerate(files)]
    assert user_frames(frames) == (Frame("call", USER, 6), Frame("call", USER, 4))
    deep = [(USER, line, "again") for line in range(1000)]
    assert [frame.line for frame in user_frames(deep, 4)] == [999, 998, 1, 0]


def test_a_traceback_of_another_rank_keeps_all_but_our_frames():
    def frame(file, text="call()"):
        return [f'  File "{file}", line 7, in save', f"    {text}", "    ^^^^^^"]

    told = [frame(OWN), frame(USER, "mine()"), frame(HYPOTHESIS), frame(ENGINE, "its()"), frame(PLUGIN)]
    lines = [
        "Traceback (most recent call last):",
        *(line for lines in told for line in lines),
        "EOFError: End of file",
        "    indented",
    ]
    for prefix in ("", "E   ", "  | "):
        text = without_own_frames("\n".join(prefix + line for line in lines))
        kept = [lines[0], *told[1], *told[3], *lines[-2:]]
        assert text == "\n".join(prefix + line for line in kept)


def test_a_stack_of_a_rank_has_no_frame_of_what_runs_the_test():
    files = (ENGINE, USER, PLUGIN, OWN, HYPOTHESIS)
    stack = "".join(f'  File "{file}", line 3 in call\n' for file in files)
    assert [frame.file for frame in top_frames(stack)] == [ENGINE, USER]
