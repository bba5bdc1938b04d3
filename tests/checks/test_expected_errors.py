"""Errors that the function under test makes, expects and catches, on real ranks; and errors that it only swallows."""

import unittest

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from faultkit import World


@pytest.fixture(scope="module", params=["warm", "simulated"])
def pair(request):
    with World(2, kind=request.param) as world:
        yield world


class FailsOnPurpose(dcp.FileSystemWriter):
    def write_data(self, plan, planner):
        if dist.get_rank() == 1:
            raise ValueError("on purpose")
        return super().write_data(plan, planner)


def save(directory, writer=FailsOnPurpose):
    dcp.save({"weight": torch.ones(4)}, storage_writer=writer(directory))


def assert_with_unittest(directory):
    case = unittest.TestCase()
    with case.assertRaises(dcp.CheckpointException):  # noqa: PT027
        save(directory)
    case.assertRaises(dcp.CheckpointException, save, directory / "again")  # noqa: PT027


def assert_with_pytest(directory):
    with pytest.raises(dcp.CheckpointException, match="on purpose"):
        save(directory)
    save(directory / "well", dcp.FileSystemWriter)


def swallow(directory):
    try:
        save(directory)
    except dcp.CheckpointException:
        pass


def expect_one_and_swallow_another(directory):
    with pytest.raises(LookupError):
        raise LookupError("nothing of the engine")
    swallow(directory)


def expect_after_a_fault(directory):
    swallow(directory)
    assert_with_unittest(directory)


@pytest.mark.parametrize("function", [assert_with_unittest, assert_with_pytest])
def test_an_error_that_the_function_says_it_expects_is_no_failure(pair, tmp_path, function):
    run = pair.run(function, tmp_path)
    assert run.verdict == "HELD", run.story()


@pytest.mark.parametrize("function", [swallow, expect_one_and_swallow_another])
def test_an_error_that_the_function_only_swallows_is_one(pair, tmp_path, function):
    run = pair.run(function, tmp_path)
    assert run.verdict == "UNUSABLE" and "on purpose" in run.story()


def test_what_is_expected_after_a_fault_is_expected_too(pair, tmp_path):
    plan = "writer.set_up_storage_writer@0#1=raise(ValueError)"
    run = pair.run(expect_after_a_fault, tmp_path, plan=plan)
    assert len(run.fired) == 1 and run.verdict == "HELD", run.story()


# -- an engine of one's own, which no hook of ours tells of ----------------------------------------------


def written(directory, is_told=True):
    """Every rank writes its file; where that failed on any, every rank raises if `is_told`."""
    failed = None
    try:
        (directory / f"rank-{dist.get_rank()}").write_bytes(b"x")
    except OSError as error:
        failed = error
    told = [None] * dist.get_world_size()
    dist.all_gather_object(told, failed and f"{type(failed).__name__}: {failed}")
    if is_told and any(told):
        raise RuntimeError(f"the save failed: {told}") from failed


def expect_what_every_rank_is_told(directory):
    with pytest.raises(RuntimeError):
        written(directory)


def expect_what_one_rank_is_told(directory):
    if dist.get_rank() == 1:
        with pytest.raises(RuntimeError):
            written(directory)
    else:
        written(directory, is_told=False)


def expect_something_else(directory):
    written(directory, is_told=False)
    with pytest.raises(RuntimeError):
        raise RuntimeError("nothing of the save")


def expect_it_too_early(directory):
    with pytest.raises(RuntimeError):
        raise RuntimeError("the save failed: [None, '[Errno 28] No space left on device']")
    written(directory, is_told=False)


FULL_DISK = "fs.write@1=raise(OSError, ENOSPC)"


def test_an_error_of_ones_own_engine_that_every_rank_expects_has_been_told_to_all(pair, tmp_path):
    run = pair.run(expect_what_every_rank_is_told, tmp_path, plan=FULL_DISK)
    assert run.fired and run.verdict == "HELD", run.story()


@pytest.mark.parametrize(
    "function", [expect_what_one_rank_is_told, expect_something_else, expect_it_too_early]
)
def test_what_is_expected_without_being_told_to_all_excuses_nobody(pair, tmp_path, function):
    run = pair.run(function, tmp_path, plan=FULL_DISK)
    assert run.fired and run.verdict == "PARTIAL", run.story()
