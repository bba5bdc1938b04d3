"""What a rank writes to its descriptors 1 and 2 is kept per rank and per run, also when it dies."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import torch.distributed as dist


def _put(text):
    ctypes.CDLL(None).puts(text.encode())


def test_each_rank_has_its_own_output(pair):
    run = pair.run(lambda: print("I am", dist.get_rank()))

    assert run.output == {0: "I am 0\n", 1: "I am 1\n"}


def test_python_descriptors_and_c_code_stand_in_the_order_written(pair):
    def writes():
        print("by print")
        print("by print to stderr", file=sys.stderr)
        os.write(1, b"by descriptor 1\n")
        os.write(2, b"by descriptor 2\n")
        _put("by C")
        os.system("echo by a child")

    assert pair.run(writes).output[0].splitlines() == [
        "by print",
        "by print to stderr",
        "by descriptor 1",
        "by descriptor 2",
        "by C",
        "by a child",
    ]


def test_the_output_of_a_rank_that_dies_is_kept(pair):
    def dies():
        print("the last words, number", dist.get_rank())
        _put("and in C")
        os.kill(os.getpid(), signal.SIGKILL)

    assert pair.run(dies).output[1] == "the last words, number 1\nand in C\n"


def test_c_code_writes_each_line_at_once(pair):
    def is_line_buffered():
        library = ctypes.CDLL(None)
        return bool(library.__flbf(ctypes.c_void_p.in_dll(library, "stdout")))

    assert {outcome.value for outcome in pair.run(is_line_buffered).outcomes.values()} == {True}


def test_an_unfinished_line_is_kept_with_its_run(pair):
    first = pair.run(lambda: print("no line break", end=""))
    second = pair.run(lambda: print("second"))

    assert (first.output[0], second.output[0]) == ("no line break", "second\n")


def test_output_belongs_to_its_own_run_alone(pair):
    assert pair.run(lambda: print("first")).output[1] == "first\n"
    assert pair.run(lambda: None).output == {0: "", 1: ""}


def test_bytes_that_are_no_text_do_not_hurt(pair):
    run = pair.run(lambda: os.write(1, b"before \xff after"))

    assert run.output[0] == "before \ufffd after"


def test_of_endless_output_the_end_is_kept(pair):
    def floods():
        for number in range(200_000):
            os.write(1, b"line %9d\n" % number)

    output = pair.run(floods).output[0]

    assert output.endswith("line    199999\n") and len(output) < 2 << 20
    assert "left out" in output.splitlines()[0]


def test_a_rank_that_closes_its_streams_still_answers(pair):
    def closes():
        sys.stdout.close()
        sys.stderr.close()
        return "closed"

    assert {outcome.value for outcome in pair.run(closes).outcomes.values()} == {"closed"}
    assert pair.run(lambda: print("again")).output[0] == "again\n"
