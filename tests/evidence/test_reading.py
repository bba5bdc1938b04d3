"""Every format that a job leaves, read into what each rank shows; and what is hostile, which runs nothing."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import pickle

import pytest

from faultkit.evidence import EvidenceError, read, tell
from tests.helpers.left_behind import FULL_DISK, LOST, OWN, SUMMARY, dump, labelled


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_a_checkpoint_exception_has_the_ranks_and_the_cause_of_each(folder):
    (folder / "console.log").write_text(labelled(dict.fromkeys(range(4), FULL_DISK)))
    evidence = read(folder)
    assert sorted(evidence.ranks) == [0, 1, 2, 3]
    for one in evidence.ranks.values():
        assert (one.kind, one.error.type_name, one.step) == ("raised", "CheckpointException", "write")
        [(rank, failed)] = one.error.failures.items()
        assert (rank, failed.type_name) == (2, "OSError") and failed.message.startswith("[Errno 28]")
        assert failed.frames[-1].function == "write_data"


@pytest.mark.parametrize("label", ["[rank{rank}]: ", "{rank}: ", "2026-01-01 00:00:01 [rank{rank}]: "])
def test_ranks_may_be_labelled_in_any_way(folder, label):
    (folder / "log").write_text(labelled({0: LOST, 1: OWN}, label))
    evidence = read(folder / "log")
    assert evidence.ranks[1].error.message == "optimizer state for group 1 is missing"
    assert (evidence.ranks[0].waiting, evidence.ranks[0].step) == ("gather_object", "plan")
    assert tell(evidence).suspects == (1,)


@pytest.mark.parametrize(("suffix", "packed"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_logs_are_read(folder, suffix, packed):
    (folder / f"log{suffix}").write_bytes(packed(labelled({1: OWN}).encode()))
    assert read(folder).ranks[1].error.type_name == "RuntimeError"


def test_a_summary_says_who_was_ended_by_the_launcher_and_who_was_first(folder):
    (folder / "console.log").write_text(labelled({0: LOST}) + SUMMARY)
    ranks = read(folder).ranks
    assert (ranks[3].kind, ranks[3].exit.signal, ranks[3].exit.is_first) == ("died", "SIGKILL", True)
    assert ranks[1].exit.by_launcher
    assert tell(read(folder)).suspects == (3,)


@pytest.mark.parametrize(
    ("shape", "type_name", "message"),
    [
        ({"message": {"message": "ValueError: x", "extraInfo": {"py_callstack": OWN, "timestamp": "1629997927"}}},
         "RuntimeError", "optimizer state for group 1 is missing"),
        ({"message": {"message": "ValueError: x", "extraInfo": {"py_callstack": ["  File \"a\", line 1, in f\n"]}}},
         "ValueError", "x"),
        ({"message": "OSError: gone", "timestamp": 12}, "OSError", "gone"),
    ],
)  # fmt: skip
def test_an_error_file_is_read_in_each_shape(folder, shape, type_name, message):
    place = folder / "elastic" / "none_1" / "attempt_0" / "2"
    place.mkdir(parents=True)
    (place / "error.json").write_text(json.dumps(shape))
    error = read(folder).ranks[2].error
    assert (error.type_name, error.message) == (type_name, message)


def test_an_error_file_may_tell_a_signal(folder):
    (folder / "rank_1_error.json").write_text(
        json.dumps({"message": {"message": "x", "extraInfo": {}, "errorCode": -9}})
    )
    assert read(folder).ranks[1].exit.signal == "SIGKILL"


@pytest.mark.parametrize("form", ["pickle", "json"])
def test_flight_recorders_name_the_rank_that_is_missing(folder, form):
    for rank in range(4):
        last = "barrier" if rank == 2 else "all_gather"
        made = dump([("all_reduce", True), (last, False)], is_text=form == "json")
        name = folder / (f"fr_dump_{rank}" if form == "pickle" else f"rank_{rank}.json")
        name.write_bytes(pickle.dumps(made, 2) if form == "pickle" else json.dumps(made).encode())
    told = tell(read(folder))
    assert told.suspects == (2,)
    assert told.waits[0] == (2,)


def test_a_rank_that_has_left_no_entry_is_the_missing_one_and_no_innocent(folder):
    for rank in range(4):
        operations = [] if rank == 3 else [("all_reduce", True), ("all_reduce", False)]
        (folder / f"_dump_{rank}").write_bytes(pickle.dumps(dump(operations), 2))
    assert tell(read(folder)).suspects == (3,)


def test_ranks_that_all_wait_in_the_same_are_not_suspected(folder):
    for rank in range(4):
        (folder / f"_dump_{rank}").write_bytes(pickle.dumps(dump([("all_reduce", False)]), 2))
    assert tell(read(folder)).suspects == ()


def test_stacks_of_py_spy_and_faulthandler_say_where_a_rank_waits(folder):
    (folder / "pyspy_rank_0.txt").write_text(
        'Process 12: python job.py\n\nThread 12 (idle): "MainThread"\n'
        "    all_gather (torch/distributed/distributed_c10d.py:4287)\n"
        "    gather_object (torch/distributed/distributed_c10d.py:3631)\n"
        "    _save_state_dict (torch/distributed/checkpoint/state_dict_saver.py:487)\n"
        "    main (job.py:85)\n"
    )
    (folder / "rank_1.txt").write_text(
        "Current thread 0x00007f (most recent call first):\n"
        '  File "torch/distributed/distributed_c10d.py", line 5356 in barrier\n'
        '  File "job.py", line 3 in main\n'
    )
    ranks = read(folder).ranks
    assert (ranks[0].kind, ranks[0].waiting) == ("hung", "gather_object")
    assert ranks[1].waiting == "barrier"


class Ran:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_pickle_that_names_anything_is_not_read_and_runs_nothing(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "_dump_0").write_bytes(pickle.dumps({"entries": [Ran()]}, 2))
    with pytest.raises(EvidenceError, match="a pickle that names"):
        read(folder)
    assert not (folder / "ran").exists()


def test_links_out_of_a_folder_are_not_followed(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "log"
    outside.write_text(labelled({1: OWN}))
    (folder / "log").symlink_to(outside)
    with pytest.raises(EvidenceError):
        read(folder)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty", b""),
        ("log", b"nothing that is known\n"),
        ("_dump_0", b"\x80\x02garbage"),
        ("x.json", b'{"a": 1}'),
    ],
)
def test_what_is_no_evidence_is_told_in_a_line(folder, name, data):
    (folder / name).write_bytes(data)
    with pytest.raises(EvidenceError, match="no evidence that can be read"):
        read(folder)


def test_what_is_not_there_is_told(folder):
    with pytest.raises(EvidenceError, match="must be a file or a folder that is there"):
        read(folder / "missing")


def test_lines_that_say_nothing_are_counted_and_cost_little_memory(folder):
    with open(folder / "log", "w") as stream:
        for _ in range(200):
            stream.write("[rank0]: step 17 loss 0.25\n" * 1_000)
        stream.write(labelled({1: OWN}))
        stream.write("x" * 3_000_000 + "\n")
    evidence = read(folder)
    assert evidence.lines == 200_000 + len(OWN.splitlines()) + 1
    assert evidence.ranks[1].error.origin.line == 200_001
