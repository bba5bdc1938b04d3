"""Texts as a job of four ranks leaves them, written for tests: what one rank prints, a launcher's summary, dumps."""

from __future__ import annotations

import json

ENGINE = "/opt/venv/lib/python3.11/site-packages/torch/distributed"
SAVING = f"""\
  File "/opt/train/job.py", line 103, in checkpoint
    dcp.save(state, checkpoint_id=where)
  File "{ENGINE}/checkpoint/state_dict_saver.py", line 196, in save
    return _save_state_dict(
"""
WRITING = f"""\
  File "{ENGINE}/checkpoint/state_dict_saver.py", line 513, in _save_state_dict
    metadata = distW.all_reduce("write", write_data, finish_checkpoint)
  File "{ENGINE}/checkpoint/utils.py", line 263, in all_reduce
    raise final_result
"""
WRITE_FAILED = f"""\
Traceback (most recent call last): (RANK 2)
  File "{ENGINE}/checkpoint/utils.py", line 241, in all_reduce
    local_data = map_fun()
                 ^^^^^^^^^
  File "{ENGINE}/checkpoint/state_dict_saver.py", line 500, in write_data
    all_writes = storage_writer.write_data(final_local_plan, planner)
  File "{ENGINE}/checkpoint/filesystem.py", line 706, in write_data
    return self._write_data(planner, file_queue)
OSError: [Errno 28] No space left on device: '/data/__2_0.distcp'
"""
FULL_DISK = (
    "Traceback (most recent call last):\n"
    + SAVING
    + WRITING
    + "torch.distributed.checkpoint.api.CheckpointException: CheckpointException ranks:dict_keys([2])\n"
    + WRITE_FAILED
)
GATHERING = f"""\
  File "{ENGINE}/checkpoint/state_dict_saver.py", line 487, in _save_state_dict
    central_plan = distW.reduce_scatter("plan", local_step, global_step)
  File "{ENGINE}/checkpoint/utils.py", line 197, in reduce_scatter
    all_data = self.gather_object(local_data)
  File "{ENGINE}/distributed_c10d.py", line 3631, in gather_object
    all_gather(object_size_list, local_size, group=group)
  File "{ENGINE}/distributed_c10d.py", line 4287, in all_gather
    work.wait()
"""
LOST = (
    "Traceback (most recent call last):\n"
    + SAVING
    + GATHERING
    + "RuntimeError: [/__w/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:5519. So it is\n"
)
OWN = """\
Traceback (most recent call last):
  File "/opt/train/job.py", line 103, in checkpoint
    dcp.save(state, checkpoint_id=where)
  File "/opt/train/job.py", line 61, in state_dict
    raise RuntimeError("optimizer state for group 1 is missing")
RuntimeError: optimizer state for group 1 is missing
"""
SUMMARY = """\
W1130 15:39:14.089000 12925 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process 101 closing signal SIGTERM
E1130 15:39:14.345000 12925 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: -9) local_rank: 3 (pid: 103) of binary: /opt/venv/bin/python
============================================================
/opt/train/job.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-30_15:39:14
  host      : localhost
  rank      : 1 (local_rank: 1)
  exitcode  : -15 (pid: 101)  (SIGTERM)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 101
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-30_15:39:14
  host      : localhost
  rank      : 3 (local_rank: 3)
  exitcode  : -9 (pid: 103)  (SIGKILL)
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID 103
============================================================
"""  # noqa: E501


def labelled(texts: dict[int, str], label: str = "[default{rank}]:[rank{rank}]: ") -> str:
    """The texts of several ranks, interleaved line by line."""
    lines = {
        rank: [label.format(rank=rank) + line for line in text.splitlines()] for rank, text in texts.items()
    }
    longest = max(map(len, lines.values()))
    woven = [lines[rank][number] for number in range(longest) for rank in lines if number < len(lines[rank])]
    return "\n".join(woven) + "\n"


def dump(operations: list[tuple[str, bool]], ranks: int = 4, is_text: bool = False) -> dict:
    """A flight recorder of gloo, with its traps: a state that stays, a group named otherwise, numbers as text."""
    count = len(operations)
    status = {
        "last_enqueued_collective": count,
        "last_started_collective": -1,
        "last_completed_collective": sum(done for _, done in operations),
    }
    return {
        "version": "2.10",
        "pg_config": {"": {"name": "", "desc": "", "ranks": json.dumps(list(range(ranks)))}},
        "pg_status": {"0": {name: str(value) if is_text else value for name, value in status.items()}},
        "entries": [
            {
                "record_id": number,
                "pg_id": 0,
                "process_group": ["0", "default_pg"],
                "collective_seq_id": number + 1,
                "profiling_name": f"gloo:{operation}",
                "time_created_ns": 1_000 + number,
                "state": "scheduled",
                "retired": done,
                "is_p2p": False,
                "frames": [{"name": operation, "filename": f"{ENGINE}/distributed_c10d.py", "line": 1}],
            }
            for number, (operation, done) in enumerate(operations)
        ],
    }
