"""Test methods of ``unittest.TestCase`` with our markers: what the outcome is, `test_cases` says."""

# ruff: noqa: PT009, PT027  as those who use unittest write

from __future__ import annotations

import os
import threading
import unittest

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

FULL_DISK = "writer.write_data@1=raise(OSError, ENOSPC)"
done: list[str] = []


def save(directory):
    dcp.save({"weight": torch.ones(8)}, checkpoint_id=directory)


@pytest.mark.spmd
@pytest.mark.world(2)
class TestOnRanks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.made = "RANK" in os.environ and int(os.environ["RANK"])

    @pytest.fixture(autouse=True)
    def _given(self, checkpoint_dir, world, request):
        self.directory, self.world = checkpoint_dir, world
        if "lock" in request.node.name:
            self.lock = threading.Lock()

    def setUp(self):
        done.append("setUp")
        self.addCleanup(done.append, "cleanup")
        self.rank = dist.get_rank()

    def tearDown(self):
        done.append("tearDown")
        if "torn_down" in self.id():
            raise KeyError("while it is torn down")

    def test_it_runs_with_what_unittest_sets_up_on_the_rank(self):
        self.assertEqual((self.made, self.rank, self.world.rank), (dist.get_rank(),) * 3)

        directories = [None, None]
        dist.all_gather_object(directories, str(self.directory))
        self.assertEqual(directories[0], directories[1])
        save(self.directory)
        self.assertTrue((self.directory / ".metadata").exists())

    def test_it_is_torn_down_with_an_error(self):
        save(self.directory)

    def test_an_assertion_fails(self):
        self.assertEqual(self.rank, 5)

    def test_an_assert_is_taken_apart(self):
        assert [self.rank, 2] == [self.rank, 3]

    def test_a_subtest_fails(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 1)

    def test_a_skip(self):
        self.skipTest("not today")

    @unittest.skip("never")
    def test_a_skip_by_decorator(self):
        raise NotImplementedError

    @unittest.expectedFailure
    def test_a_failure_that_is_expected(self):
        self.fail("known")

    @unittest.expectedFailure
    def test_a_success_that_is_not_expected(self):
        pass

    def test_an_attribute_with_a_lock(self):
        pass

    @pytest.mark.faults(FULL_DISK)
    def test_the_error_leaves_the_method(self):
        save(self.directory)
        self.fail("it never comes here")

    @pytest.mark.faults(FULL_DISK, raises=dcp.CheckpointException)
    def test_the_error_is_meant(self):
        save(self.directory)

    @pytest.mark.faults(FULL_DISK)
    def test_the_error_is_expected(self):
        with self.assertRaises(dcp.CheckpointException):
            save(self.directory)

    @pytest.mark.faults(FULL_DISK)
    def test_the_error_is_swallowed_by_an_assertion(self):
        with self.assertRaises(ZeroDivisionError), self.assertRaises(dcp.CheckpointException):
            save(self.directory)

    @pytest.mark.faults(FULL_DISK)
    def test_it_never_comes_by_the_point(self):
        pass

    @pytest.mark.faults(FULL_DISK, "")
    def test_two_plans(self):
        pass

    @pytest.mark.world(1, 2)
    def test_two_sizes(self):
        pass

    async def test_nobody_awaits_it(self):
        raise NotImplementedError

    def test_it_never_runs(self):
        raise NotImplementedError

    def run(self, result=None):
        return result if "never_runs" in self.id() else super().run(result)


@pytest.mark.spmd
@pytest.mark.world(1)
class TestAwaited(unittest.IsolatedAsyncioTestCase):
    async def test_it_is_awaited(self):
        self.assertEqual(dist.get_world_size(), 1)

    async def test_it_is_awaited_and_fails(self):
        self.assertEqual(dist.get_world_size(), 2)


@pytest.mark.world(2)
class TestWithTheFixture(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _given(self, checkpoint_dir, world):
        self.directory, self.world = checkpoint_dir, world

    @pytest.mark.faults(FULL_DISK)
    def test_it_looks_at_the_run(self):
        run = self.world.run(save, self.directory)
        self.assertEqual(sorted(run.outcomes[0].failures), [1])

    @pytest.mark.faults(FULL_DISK)
    def test_it_looks_away(self):
        self.world.run(save, self.directory)

    @pytest.mark.faults(FULL_DISK)
    def test_it_fails_itself(self):
        self.assertEqual(self.world.run(save, self.directory).outcomes[0].failures, {})

    @pytest.mark.faults(FULL_DISK)
    def test_it_runs_nothing(self):
        pass

    @pytest.mark.faults("writer.finsh=raise(OSError)")
    def test_a_wrong_marker(self):
        raise NotImplementedError
