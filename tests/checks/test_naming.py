import pytest

from faultkit.checks.naming import clip, name_error, name_ranks, top_frames
from faultkit.worlds.outcomes import ErrorRecord
from tests.checks.runs import checkpoint_error


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
