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
