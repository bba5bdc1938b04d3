"""The scenarios of a checkpointer, run once with nothing broken: what was given is what is then read."""

from __future__ import annotations

import msgspec
import pytest

from faultkit import checkpointers
from faultkit.scenarios.derived import derive
from faultkit.scenarios.stage import Stage

pytestmark = pytest.mark.slow
REFERENCE = checkpointers.get("reference")


def half_read(directory):
    found = REFERENCE.read(directory)
    return found and {**found, "weight": found["weight"] * 0}


READERS = {
    "its own read": (REFERENCE, "HELD"),
    "its load on one rank": (msgspec.structs.replace(REFERENCE, read=None), "HELD"),
    "a read that is wrong": (msgspec.structs.replace(REFERENCE, read=half_read), "SILENT_WRONG"),
}


@pytest.mark.parametrize("how", READERS)
def test_what_a_save_was_given_is_compared_with_what_is_read(pair, how):
    checkpointer, verdict = READERS[how]
    with Stage(derive(checkpointer, "save")) as stage:
        run = stage.run(pair)

    assert str(run.verdict) == verdict, run.story()


def test_what_reads_in_one_process_is_read_in_one_also_where_a_load_needs_as_many_ranks_as_saved():
    alike = msgspec.structs.replace(REFERENCE, reshards=False)
    assert derive(alike, "save").load_ranks == 1
    assert derive(msgspec.structs.replace(alike, read=None), "save").load_ranks == 0
