"""Tests whose bodies run on ranks, each ending in its own way: what the outcome is, `test_spmd` says."""

from __future__ import annotations

import os
import time

import pytest
import torch.distributed as dist

from conftest import require_thirty

pytestmark = [pytest.mark.world(2), pytest.mark.spmd]


def two():
    return 2


def require_twenty(value):
    assert value == 20


def test_assert_with_variables():
    left, right = two(), 3
    assert left == right


def test_assert_with_a_call():
    assert two() == 3


def test_assert_in_a_helper():
    require_twenty(30)


def test_assert_in_the_conftest():
    require_thirty(20)


def test_assert_with_a_message():
    assert two() == 3, "two is not three"


def test_lists_differ():
    assert [1, two(), 3] == [1, 5, 3]


def test_long_lists_differ():
    assert list(range(200)) == [str(number) for number in range(200)]


def test_returns_something():
    return two() == 3


def test_rank_1_fails_and_then_rank_0():
    if dist.get_rank() == 1:
        raise KeyError("rank 1 gave up")
    dist.barrier()


def test_rank_1_alone_fails():
    print("hello from rank", dist.get_rank())
    os.write(2, b"written to descriptor 2\n")
    assert dist.get_rank() == 0


def test_ranks_print_and_pass():
    print("all is well on rank", dist.get_rank())


def test_fixtures_arrive(number, mapping, tmp_path, checkpoint_dir, world, plan):
    assert number == 7 and mapping == {"a": [1, 2]}
    assert checkpoint_dir.parent == tmp_path and not list(checkpoint_dir.iterdir())
    assert (world.rank, world.size, world.kind) == (dist.get_rank(), 2, "warm")
    assert not plan


def test_a_lock_does_not_travel(lock):
    pass


def test_recwarn_does_not_travel(recwarn):
    pass


def test_monkeypatch_is_the_ranks_own(monkeypatch):
    monkeypatch.setattr(os, "getlogin", lambda: "patched")
    assert os.getlogin() == "patched"


def test_monkeypatch_was_undone():
    assert os.getlogin.__name__ == "getlogin"


@pytest.mark.parametrize("value", [1, 2])
def test_parameters(value, doubled):
    assert doubled == 2 * value


@pytest.mark.world(1, 3)
def test_sizes():
    assert dist.get_world_size() in (1, 3)


class TestInAClass:
    pytestmark = pytest.mark.world(3)

    def setup_method(self):
        self.value = 5

    def test_the_class_counts_before_the_module(self):
        assert dist.get_world_size() == 3 and self.value == 5

    @pytest.mark.world(1)
    def test_the_function_counts_before_the_class(self):
        assert dist.get_world_size() == 1


def test_skip():
    pytest.skip("not on a Monday")


def test_skip_on_one_rank():
    if dist.get_rank() == 1:
        pytest.skip("not on rank 1")


def test_skip_where_another_rank_fails():
    if dist.get_rank() == 1:
        pytest.skip("not on rank 1")
    assert two() == 3


def test_xfail():
    pytest.xfail("known")


@pytest.mark.faults("", "writer.reset=delay(0)", may_not_fire=True)
def test_skip_where_another_rank_dies():
    if dist.get_rank() == 1:
        pytest.skip("not on rank 1")
    os._exit(3)


def test_importorskip():
    pytest.importorskip("a_module_that_nobody_has")


def test_fail():
    pytest.fail("on purpose")


def test_fail_without_a_traceback():
    pytest.fail("on purpose", pytrace=False)


@pytest.mark.xfail(raises=ValueError, strict=True)
def test_xfail_with_the_type_that_is_raised():
    raise ValueError("expected")


@pytest.mark.xfail(raises=ValueError, strict=True)
def test_xfail_with_another_type():
    raise KeyError("unexpected")


def test_error_that_cannot_travel():
    class Local(Exception):
        def __reduce__(self):
            raise TypeError("stays here")

    raise Local("far away")


def test_rank_1_dies():
    if dist.get_rank() == 1:
        os._exit(3)
    dist.barrier()


@pytest.mark.world(2, timeout=1.0)
def test_rank_1_does_not_come():
    if dist.get_rank() == 1:
        time.sleep(60)
    dist.barrier()


def test_after_death_and_hang_the_ranks_are_whole():
    dist.barrier()
    assert dist.get_world_size() == 2
