"""Commands that are ended by a signal at a random moment, from their first millisecond on: how each of them ends.

Promised: the documented exit status, at most one line on standard error and no traceback, no process after two
seconds, reports whole or not there, no directory left.  The short form runs with the suite; `-m soak` runs 30 random
moments for each of six commands and each ending.  SOAK_SEED draws other moments, SOAK_MOMENTS more of them;
SOAK_PATIENCE gives a busy machine so many seconds more.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.interruptible import interruptible

SECONDS_MAX = 120.0
GONE_SECONDS_MAX = 2.0 + float(os.environ.get("SOAK_PATIENCE", "0"))
PATIENT_SECONDS = 60.0  # of the short form, which judges no machine
EARLY_SECONDS = 0.15 + float(os.environ.get("SOAK_PATIENCE", "0")) / 10
MOMENTS = int(os.environ.get("SOAK_MOMENTS", "30"))
SEED = int(os.environ.get("SOAK_SEED", "0"))
LINE = b"faultkit: interrupted\n"
PROGRAM = [sys.executable, "-c", "from faultkit.__main__ import main; main()"]
TRAIN = """
import json, os, sys
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
for step in range(20):
    with open(os.path.join(out, f"state{step}.json"), "w") as stream:
        json.dump({"step": step}, stream)
"""
COMMANDS = {
    "sweep": "sweep dcp-save --world 2 --actions raise* --json found.json --report found.html",
    "replay": "replay writer.reset@1=raise(ValueError) --world 2 --json found.json --report found.html",
    "crash": "crash dcp-overwrite,elements=8 --keep kept.crash --json found.json --report found.html",
    "script": "crash --keep kept.crash --json found.json -- python train.py {out}",
    "damage": "damage dcp-save --json found.json --report found.html",
    "scale": "scale --to 64 --json found.json --report found.html",
}
ENDINGS = {
    "SIGKILL": (signal.SIGKILL,),
    "SIGTERM": (signal.SIGTERM,),
    "SIGHUP": (signal.SIGHUP,),
    "SIGINT": (signal.SIGINT,),
    "SIGINT twice": (signal.SIGINT, signal.SIGINT),
}


def below(root):
    """The processes that this test started: they have its mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SOAK_MARK") == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def temporary():
    """What faultkit makes outside of the directory for temporary files."""
    return set(Path("/dev/shm").glob("faultkit*"))


def is_whole(path):
    if path.suffix == ".json":
        return isinstance(json.loads(path.read_text()), dict)
    if path.suffix == ".html":
        return path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    from faultkit.repro.crash_file import read

    return bool(read(path.read_bytes()).findings)


def mistakes(root, command, numbers, seconds, gap_seconds=0.0, gone_seconds_max=GONE_SECONDS_MAX):
    """What is wrong with how `command` ends that gets the signals after so many seconds; and whether it was over."""
    root.mkdir()
    (root / "tmp").mkdir()
    (root / "train.py").write_text(TRAIN)
    environment = {
        **os.environ,
        "SOAK_MARK": str(root),
        "TMPDIR": str(root / "tmp"),
        "FAULTKIT_SLOTS": "0",
    }
    process = subprocess.Popen(
        [*PROGRAM, *COMMANDS[command].split()], cwd=root, env=environment, preexec_fn=interruptible,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(seconds)
    used_seconds = sum(psutil.Process(process.pid).cpu_times()[:2])
    for number in numbers:
        process.send_signal(number)
        time.sleep(gap_seconds)
    # the pipes stay open for as long as any process has them: what is left is looked at first
    out, err, was_killed = b"", b"", False
    try:
        out, err = process.communicate(timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        was_killed = True
        process.kill()
    gone = time.monotonic() + gone_seconds_max
    while (left := below(root)) and time.monotonic() < gone:
        time.sleep(0.02)
    found = [f"it did not end within {SECONDS_MAX:g} s"] if was_killed else []
    found += [f"left after {gone_seconds_max:g} s: {one.pid} {' '.join(one.cmdline())[:120]}" for one in left]
    for one in left:
        one.kill()
    # in its first milliseconds, which a busy machine draws out, the interpreter is not faultkit's yet, and tells SIGINT
    is_early = used_seconds < EARLY_SECONDS and process.returncode in (*(-one for one in numbers), 1)
    documented = (0, 1, -9) if signal.SIGKILL in numbers else (0, 1, 130)
    if process.returncode not in documented and not is_early:
        found.append(f"status {process.returncode}")
    if not is_early and err not in (b"", LINE):
        found.append(f"standard error: {err.decode(errors='replace')[-600:]}")
    if process.returncode == 130 and err != LINE:
        found.append("130 without its line")
    for path in root.iterdir():
        if path.name.startswith(".faultkit-"):
            found += [f"half a file: {path.name}"] if process.returncode != -9 else []
        elif path.suffix in (".json", ".html", ".crash"):
            try:
                if not is_whole(path):
                    found.append(f"half a report: {path.name}")
            except Exception as error:
                found.append(f"half a report: {path.name}: {error!r}")
    if left_behind := [path.name for path in (root / "tmp").iterdir()]:
        found.append(f"left in the temporary directory: {left_behind}")
    return found, process.returncode in (0, 1), out


def soak(tmp_path, names, endings, moments, seed):
    """Moments from the first millisecond to the end of the command as it is when nobody ends it."""
    chance, wrong, over, before = random.Random(seed), {}, 0, temporary()
    for name in names:
        began = time.monotonic()
        found, _, _ = mistakes(tmp_path / f"{name}-whole", name, (), 0.0)
        whole_seconds = time.monotonic() - began
        if found:
            wrong[f"{name} that nobody ends"] = found
        for ending in endings:
            for count in range(moments):
                # half of the moments in the first two seconds, where everything starts
                latest = whole_seconds if count % 2 else min(2.0, whole_seconds)
                seconds, gap_seconds = chance.uniform(0, latest), chance.choice((0.0, 0.001, 0.05, 0.3))
                root = tmp_path / f"{name}-{ending.replace(' ', '-')}-{count}"
                found, was_over, _ = mistakes(root, name, ENDINGS[ending], seconds, gap_seconds)
                over += was_over
                if found:
                    what = f"{name}, {ending} after {seconds:.3f} s, gap {gap_seconds:g}"
                    wrong[what] = found
                    print(f"{what}: {found}", flush=True)
    until = time.monotonic() + PATIENT_SECONDS
    while (left := temporary() - before) and time.monotonic() < until:
        time.sleep(0.1)  # those of others, too
    if left:
        wrong["left in memory"] = sorted(map(str, left))
    return wrong, over


@pytest.mark.parametrize(("ending", "seconds"), [("SIGKILL", 0.9), ("SIGHUP", 0.4), ("SIGINT twice", 1.4)])
def test_a_command_that_is_ended_while_it_starts_ends_as_documented(tmp_path, ending, seconds):
    found, _, _ = mistakes(
        tmp_path / "run", "replay", ENDINGS[ending], seconds, 0.001, gone_seconds_max=PATIENT_SECONDS
    )
    assert found == []


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("name", COMMANDS)
def test_six_commands_end_as_documented_at_many_moments(tmp_path, name):
    wrong, over = soak(tmp_path, [name], ENDINGS, MOMENTS, SEED)
    print(f"{name}: {MOMENTS * len(ENDINGS)} endings, {over} of them after the end; wrong: {len(wrong)}")
    assert wrong == {}
