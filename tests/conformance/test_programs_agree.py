"""Small SPMD programs come to the same on simulated ranks as on processes that talk through gloo, rank by rank.

Compared are the kind of each outcome, the value, the exception's type, its message unless the transport made it
of addresses, and what the engine reports of each rank.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.conformance.disagreements import PROGRAMS as LISTED
from tests.conformance.disagreements import SEVERAL
from tests.conformance.outcomes_compared import run_all
from tests.conformance.second_tries import AGAIN, COUNT, compared
from tests.conformance.spmd_program import PROGRAMS

pytestmark = pytest.mark.slow

FAMILIES = sorted(path.stem for path in (Path(__file__).parent / "programs").glob("*.py"))
for _family in FAMILIES:
    importlib.import_module(f"tests.conformance.programs.{_family}")

CHUNK_COUNT_MAX = 24
OFTEN_COUNT_MAX = 17  # of a family; the others run with the long forms
THREADS = 3  # a world whose ranks hang costs waiting, and no work
AGAIN_COUNT = 2
CHUNKS = {}
for _often in (True, False):
    for _family in FAMILIES:
        _of_family = [name for name, program in PROGRAMS.items() if program.family == _family]
        _chosen = [name for name in _of_family if PROGRAMS[name].often][:OFTEN_COUNT_MAX]
        _names = _chosen if _often else [name for name in _of_family if name not in _chosen]
        for _start in range(0, len(_names), CHUNK_COUNT_MAX):
            _id = f"{_family}-{_start // CHUNK_COUNT_MAX + 1}"
            CHUNKS[_often, _id] = _names[_start : _start + CHUNK_COUNT_MAX]


def test_there_are_enough_of_them():
    assert sum(len(names) for (often, _), names in CHUNKS.items() if often) >= 150


def test_what_is_listed_exists():
    assert not (set(LISTED) | set(SEVERAL)) - set(PROGRAMS)
    assert not set(LISTED) & set(SEVERAL)


@pytest.mark.parametrize("chunk", [chunk for often, chunk in CHUNKS if often])
def test_programs_agree(chunk, record_property):
    compare(CHUNKS[True, chunk], record_property)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", [chunk for often, chunk in CHUNKS if not often])
def test_more_programs_agree(chunk, record_property):
    compare(CHUNKS[False, chunk], record_property)


def test_one_that_agrees_only_at_another_try_is_counted_and_one_that_never_does_fails(monkeypatch):
    often, never = CHUNKS[True, "endings-1"][:2]
    answers = {"simulated": ["right"], "fresh": ["wrong", "wrong", "right"]}

    def run(programs, kind, threads=1):
        said = answers[kind].pop(0) if len(answers[kind]) > 1 else answers[kind][0]
        return {one.name: ("wrong" if kind == "fresh" and one.name == never else said,) for one in programs}

    monkeypatch.setitem(globals(), "run_all", run)
    told = {}
    compare([often], told.__setitem__)
    assert told == {COUNT: 1, AGAIN: [often]}
    with pytest.raises(AssertionError, match=never):
        compare([never], told.__setitem__)
    assert told == {COUNT: 1, AGAIN: []}


def compare(names, record_property):
    programs = [PROGRAMS[name] for name in names]
    simulated = run_all(programs, "simulated")
    real = run_all(programs, "fresh", THREADS)
    differ = [name for name in names if not agree(name, simulated[name], real[name])]
    second = []
    for name in [name for name in differ if name not in LISTED]:
        # a machine that is busy may have kept a rank from what it would have done in time
        again = [run_all([PROGRAMS[name]], "fresh")[name] for _ in range(AGAIN_COUNT)]
        if any(agree(name, simulated[name], other) for other in again):
            differ.remove(name)
            second.append(name)
    compared(record_property, len(names), second)
    unlisted = [name for name in differ if name not in LISTED]
    assert not unlisted, "\n".join(
        f"{name}\n  simulated {simulated[name]}\n  processes {real[name]}" for name in unlisted
    )
    gone = [name for name in names if name in LISTED and name not in differ]
    assert not gone, f"these programs agree, and are still listed as disagreements: {gone}"


def agree(name, simulated, real):
    if name not in SEVERAL:
        return simulated == real
    _, patterns = SEVERAL[name]
    return all(
        re.fullmatch(pattern, line)
        for world in (simulated, real)
        for pattern, line in zip(patterns, world, strict=True)
    )
