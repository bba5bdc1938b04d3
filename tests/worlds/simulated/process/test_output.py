"""What a rank and the processes that it starts print is the rank's, in order, as on processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile

import pytest
import torch.distributed as dist

from faultkit import World


def prints_in_every_way():
    rank = dist.get_rank()
    os.write(1, f"written {rank}\n".encode())
    sys.stdout.buffer.write(b"bytes \xc3\xbc\n")
    sys.stdout.buffer.flush()
    print("first stream", file=sys.__stdout__, flush=True)
    subprocess.run(["echo", f"program of {rank}"])
    print("between")
    subprocess.run("echo shell; echo its error >&2", shell=True)
    subprocess.run(["echo", "to the stream"], stdout=sys.stdout)
    subprocess.run(["/bin/echo", "spawned"], close_fds=False)
    os.system("echo system")
    dist.barrier()
    pid = os.fork()
    if not pid:
        print("child", rank)
        os.write(2, b"error of the child\n")
        os._exit(0)
    os.waitpid(pid, 0)
    process = multiprocessing.get_context("fork").Process(target=print, args=("process", rank))
    process.start()
    process.join()
    process.close()
    captured = subprocess.run(["echo", "captured"], capture_output=True, text=True).stdout
    sys.stdout.write(captured)


def puts_a_file_in_its_place():
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        os.write(1, b"to the file\n")
        subprocess.run(["echo", "too"])
        os.dup2(kept, 1)
        os.close(kept)
        file.seek(0)
        found = file.read()
    os.write(1, b"to the rank\n")
    return found


@pytest.fixture(scope="module")
def fresh_pair():
    with World(2, kind="fresh") as world:
        yield world


def test_everything_printed_arrives_in_order(pair, fresh_pair):
    simulated, real = pair.run(prints_in_every_way), fresh_pair.run(prints_in_every_way)
    assert real.output[1].splitlines()[:3] == ["written 1", "bytes ü", "first stream"]
    assert simulated.output == real.output
    assert simulated.verdict == real.verdict == "HELD"


def test_a_descriptor_that_leads_elsewhere_is_left_alone(pair, fresh_pair):
    for world in (pair, fresh_pair):
        run = world.run(puts_a_file_in_its_place)
        assert run.outcomes[1].value == b"to the file\ntoo\n"
        assert run.output[1] == "to the rank\n"
