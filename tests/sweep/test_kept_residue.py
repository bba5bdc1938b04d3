"""What a library keeps for its process is no leak of each run; what grows is, also under a fault in the first run."""

from __future__ import annotations

import json
import pickle
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed.checkpoint as dcp

from faultkit import FaultPlan, Verdict
from faultkit.scenarios import Scenario, ScenarioError
from faultkit.sweep import sweep

pytestmark = pytest.mark.slow

OPEN, LOOPS = [], []
ERRORS = ("ValueError", "KeyError", "TypeError", "OSError, EIO", "OSError, ENOSPC")
FAULT = "writer.write_data@1=raise(ValueError)"


def save(directory):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


def start_loop():
    threading.Thread(target=threading.Event().wait, name="library-loop", daemon=True).start()


def keep_a_loop():
    if not LOOPS:
        LOOPS.append(start_loop())


def save_with_a_loop(directory):
    """As fsspec does: one thread for all transfers of the process."""
    keep_a_loop()
    save(directory)


def save_with_a_loop_each(directory):
    start_loop()
    save(directory)


def save_and_forget_a_loop_on_failure(directory):
    keep_a_loop()
    try:
        save(directory)
    except BaseException:
        start_loop()
        raise


def save_with_a_descriptor(directory):
    if not OPEN:
        OPEN.append(open("/etc/hostname"))  # noqa: SIM115
    save(directory)


def save_and_forget_a_descriptor_on_failure(directory):
    try:
        save_with_a_descriptor(directory)
    except BaseException:
        OPEN.append(open("/etc/hostname"))  # noqa: SIM115
        raise


def save_and_leave_a_descriptor_on_failure(directory):
    try:
        save(directory)
    except BaseException:
        OPEN.append(open("/etc/hostname"))  # noqa: SIM115
        raise


def save_with_a_descriptor_of_the_first_directory(directory):
    save(directory)
    if not OPEN:
        OPEN.append(open(directory / ".metadata"))  # noqa: SIM115


def save_and_forget_a_descriptor_there(directory):
    save(directory)
    OPEN.append(open(directory / ".metadata"))  # noqa: SIM115


def sweep_of(function, *texts, **options):
    plans = [FaultPlan.parse(text) for text in texts]
    return sweep(
        Scenario(name=f"{__name__}:{function.__name__}", function=function), world=2, plans=plans, **options
    )


@pytest.mark.parametrize("kind", ["warm", "simulated"])
def test_what_a_process_keeps_is_no_leak_and_is_told(kind):
    journal = sweep_of(save_with_a_loop, "", FAULT, FAULT, kind=kind)
    assert journal.totals == {"HELD": 3}
    assert journal.kept_residue == ("thread library-loop",)
    assert json.loads(journal.to_json())["kept"] == ["thread library-loop"]


def test_what_grows_with_each_run_is_a_leak_although_it_has_the_same_name():
    journal = sweep_of(save_with_a_loop_each, FAULT)
    assert journal.totals == {"LEAKED": 1} and journal.baseline is not None
    assert "thread library-loop" in journal.results[0].violations[0].evidence


def test_what_a_fault_makes_it_forget_in_the_first_run_of_a_process_is_a_leak():
    journal = sweep_of(save_and_forget_a_loop_on_failure, FAULT, kind="fresh")
    (result,) = journal.results
    assert result.verdict is Verdict.LEAKED and journal.kept_residue == ("thread library-loop",)
    assert (
        "ranks 0, 1 had after the run, and not before: thread library-loop" in result.violations[0].evidence
    )


class Recorded(ThreadPoolExecutor):
    """One worker, of which it is known with what each chunk was given to it."""

    def __init__(self):
        super().__init__(1)
        self.chunks = []

    def submit(self, call, body):
        self.chunks.append(pickle.loads(pickle.loads(body)[1]))
        return super().submit(call, body)


def test_what_a_chunk_learnt_of_the_work_the_next_ones_are_told():
    raises = [f"writer.write_data@{rank}=raise({error})" for error in ERRORS for rank in (0, 1)]
    with Recorded() as executor:
        journal = sweep_of(
            save_and_leave_a_descriptor_on_failure, "writer.finish@0=kill", *raises, executor=executor, jobs=1
        )
    assert journal.totals["LEAKED"] == len(raises)
    first, *_, last = [(chunk.kept, chunk.starts_again) for chunk in executor.chunks]
    assert first == (None, None) and last == (Counter(), True)
    assert journal.starts_again is True


def test_what_a_fault_makes_it_forget_is_a_leak_where_the_process_has_its_own_already():
    journal = sweep_of(save_and_forget_a_descriptor_on_failure, "", FAULT)
    assert [result.verdict for result in journal.results] == [Verdict.HELD, Verdict.LEAKED]
    assert journal.kept_residue == ("open descriptor /etc/hostname",)
    assert sweep_of(save_with_a_descriptor, "", FAULT, "").totals == {"HELD": 3}


def test_a_descriptor_is_known_though_each_run_has_a_directory_of_its_own():
    journal = sweep_of(save_with_a_descriptor_of_the_first_directory, "", FAULT, "")
    assert journal.totals == {"HELD": 3}
    [kept] = journal.kept_residue
    assert kept.startswith("open descriptor ") and kept.endswith("/faultkit-#/run-#/.metadata")
    journal = sweep_of(save_and_forget_a_descriptor_there, "")
    assert journal.totals == {"LEAKED": 1} and journal.kept_residue == ()


def test_a_replay_comes_to_the_same():
    assert sweep_of(save_with_a_loop, FAULT, probes=False).totals == {"HELD": 1}
    assert sweep_of(save_with_a_loop_each, FAULT, probes=False).totals == {"LEAKED": 1}


# -- which checks count ----------------------------------------------------------------------------


def test_checks_are_chosen_and_residue_is_allowed_by_the_words_of_the_check():
    for options in (
        {"no_check": ["leaks"]},
        {"checks": ["liveness", "durable"]},
        {"allow_residue": ["thread library-*"]},
        {"allow_residue": ["library-loop"]},
    ):
        journal = sweep_of(save_with_a_loop_each, FAULT, stories=True, probes=False, **options)
        assert journal.totals == {"HELD": 1}
        assert journal.chosen.told and journal.chosen.told in journal.results[0].story
        for word in journal.chosen.words:
            assert word in journal.replay_command(journal.results[0])
        assert json.loads(journal.to_json())["chosen"] == journal.chosen.to_builtins()
    other = sweep_of(save_with_a_loop_each, FAULT, probes=False, allow_residue=["thread other"])
    assert other.totals == {"LEAKED": 1}


def test_a_scenario_chooses_for_itself_and_options_add_to_it():
    quiet = Scenario(name="quiet", function=save_with_a_loop_each, no_check=("leaks",))
    journal = sweep(quiet, world=2, plans=[FaultPlan.parse(FAULT)], no_check=["cause"])
    assert journal.held and journal.chosen.no_check == ("leaks", "cause")


def test_an_unknown_check_of_a_scenario_is_refused_before_anything_starts():
    with pytest.raises(ScenarioError, match=r"scenario 'odd': check must be one of .* did you mean 'leaks'"):
        sweep(Scenario(name="odd", function=save, checks=("leakz",)), world=2)
