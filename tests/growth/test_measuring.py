"""What a checkpointer has more of with each save is found on the rank that has it, and its twin has nothing more."""

from __future__ import annotations

import pytest

from faultkit.exceptions import ScenarioError
from faultkit.growth import measure
from tests.helpers import growing_checkpointers
from tests.helpers.growing_checkpointers import GROWING, clear_temporary_files, fails, keep_numbers

# together, since what one has left in the temporary directory is cleared, and may be what another counts
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("temporary files that grow")]

SAVES = 40
HERE = growing_checkpointers.__name__
ON = {
    "warm": {
        0: {"descriptors", "temporary_files", "files"},
        1: {"memory", "threads", "shared_memory"},
    },
    # memory is that of all ranks together; a mapping without a name is nobody's
    "simulated": {0: {"descriptors", "temporary_files", "files", "memory"}, 1: {"threads"}},
}
FOLLOW = {"resident", "file_bytes"}  # of what is told by another measure already


@pytest.mark.parametrize("kind", ON)
def test_each_leak_is_found_where_it_is_and_with_its_name(kind):
    try:
        found = measure(GROWING.with_options(grows="all"), saves=SAVES, kind=kind)
    finally:
        clear_temporary_files()
    told: dict[int, set[str]] = {}
    for one in found.slopes:
        if one.is_violation and one.measure not in FOLLOW:
            told.setdefault(one.rank, set()).add(one.measure)
    assert told == ON[kind]
    assert found.verdict == "LEAKED" and {violation.check for violation in found.violations} == {"growth"}
    by_measure = {one.measure: one for one in found.slopes if one.is_violation}
    for measure_name in ("descriptors", "threads"):
        assert by_measure[measure_name].slope.estimate == pytest.approx(1, abs=0.05)
    assert (
        4096 - 256 < by_measure["memory"].slope.estimate < 16 * 4096
    )  # a thread costs some, too: with what torch keeps for it, 40 KiB
    text = " ".join(found.text().split())
    assert "1.00 +- 0.00 descriptors per save on rank 0 (40 saves): " in text
    for name in (".pt", "scratch-", "log-", "uploader", "torch.Tensor"):
        assert name in text, name
    with pytest.raises(AssertionError, match="LEAKED"):
        found.raise_for_violations()


@pytest.mark.parametrize("kind", ON)
def test_the_twin_has_nothing_more(kind):
    found = measure(GROWING, saves=SAVES, kind=kind)
    assert found.held, found.text()
    assert {one.measure for one in found.slopes} >= set.union(*ON["warm"].values())
    found.raise_for_violations()


def test_a_plain_function_is_called_again_and_again():
    found = measure(keep_numbers, saves=SAVES, world=1)
    [violation] = found.violations
    assert "per call on rank 0 (40 calls)" in violation.evidence and found.turn == "call"


def test_a_scenario_is_called_over_what_was_prepared():
    found = measure(f"{HERE}:GROWING.load", saves=SAVES, world=1)
    assert found.held and found.scenario == f"{HERE}:GROWING.load"


def test_work_that_fails_at_once_tells_nothing():
    with pytest.raises(ScenarioError, match="does not come through the first 30 turns"):
        measure(fails, saves=SAVES, world=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"saves": 29}, "saves must be a number from 30 to 1000"),
        ({"kind": "auto"}, "kind must be one of warm, fresh, spawn, simulated"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        measure(GROWING, **arguments)
