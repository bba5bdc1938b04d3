"""How a rank ends (returns, raises, exits, is killed) and what the others, who wait for it, then see."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import warnings

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import program


def me():
    return dist.get_rank()


class Own(Exception):
    def __init__(self, first, second):
        super().__init__(first, second)
        self.first, self.second = first, second


@program(size=3)
def all_return():
    return "rank", me(), {"of": 3}


@program(size=3)
def all_raise():
    raise Own(me(), "own")


@program(often=False)
def raises_with_a_cause():
    try:
        {}["key"]
    except KeyError as error:
        raise OSError(28, "No space left on device") from error


@program(often=False)
def raises_a_group():
    raise ExceptionGroup("several", [ValueError("one"), Own(1, me())])


@program()
def raises_no_exception():
    raise KeyboardInterrupt


@program(size=3)
def one_raises_after_the_barrier():
    dist.barrier()
    if me() == 1:
        raise Own(1, 2)
    return "fine"


@program(size=3)
def one_raises_and_tells():
    """The way out that works: everybody hears of it before anybody leaves."""
    error = ValueError("told") if me() == 1 else None
    errors = [None] * 3
    dist.all_gather_object(errors, error)
    for found in errors:
        if found is not None:
            raise found


@program(often=False)
def sys_exit_on_all():
    sys.exit(3)


@program(often=False)
def sys_exit_with_words():
    if me() == 1:
        sys.exit("enough")
    return "stays"


@program(often=False)
def sys_exit_without_a_number():
    sys.exit()


@program()
def sys_exit_while_the_other_waits():
    if me() == 1:
        sys.exit(4)
    dist.barrier()


@program()
def os_exit_on_all():
    os._exit(7 + me())


@program(often=False)
def os_exit_with_nought():
    if me() == 1:
        os._exit(0)
    return "stays"


@program()
def os_exit_while_the_other_waits():
    if me() == 1:
        os._exit(4)
    dist.barrier()


@program(often=False)
def os_exit_in_a_finally():
    try:
        raise ValueError
    finally:
        os._exit(6)


@program()
def killed_while_the_other_works():
    if me() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(range(1000))


@program()
def terminated():
    if me() == 1:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
    return "stays"


@program(often=False)
def aborted():
    if me() == 1:
        os.abort()
    return "stays"


@program(size=3)
def killed_between_two_collectives():
    dist.barrier()
    if me() == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


@program(size=3)
def killed_and_then_another_collective():
    """The second call after a death is on a group that is known to be broken."""
    if me() == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    seen = []
    for _ in range(2):
        try:
            dist.all_reduce(torch.ones(1))
        except RuntimeError as error:
            seen.append(type(error).__name__)
    return seen


@program()
def the_error_is_swallowed():
    if me() == 1:
        os._exit(4)
    try:
        dist.barrier()
    except RuntimeError:
        return "swallowed"
    return "through"


@program(size=3)
def one_returns_while_two_go_on():
    if me() == 0:
        return "early"
    tensor = torch.zeros(1)
    if me() == 1:
        dist.send(torch.ones(1), 2)
    else:
        dist.recv(tensor, 1)
    return tensor.item()


@program(size=3)
def two_return_while_one_waits():
    if me() == 0:
        dist.recv(torch.zeros(1), 1)
    return "early"


@program()
def catches_nothing_and_waits_twice():
    try:
        if me() == 1:
            raise ValueError("swallowed")
        dist.barrier()
    except ValueError:
        pass
    dist.barrier()
    return "through"


@program(often=False)
def sleeps_and_returns():
    began = time.monotonic()
    time.sleep(0.05 * (me() + 1))
    return time.monotonic() - began >= 0.05 * (me() + 1)


@program()
def sleeps_in_turns():
    clock = []
    for turn in range(4):
        if turn % 2 == me():
            time.sleep(0.01)
        dist.barrier()
        clock.append(turn)
    return clock


@program(size=3)
def what_a_rank_sets_stays_its_own():
    os.environ["FAULTKIT_CONFORMANCE"] = str(me())
    random.seed(me())
    torch.manual_seed(me())
    torch.set_default_dtype(torch.float64 if me() == 1 else torch.float32)
    warnings.simplefilter("ignore" if me() == 2 else "default")
    dist.barrier()
    return (
        os.environ["FAULTKIT_CONFORMANCE"],
        random.randint(0, 1000),
        torch.randint(0, 1000, (1,)).item(),
        str(torch.ones(1).dtype),
        warnings.filters[0][0],
        os.environ["RANK"],
        os.environ["WORLD_SIZE"],
    )


@program()
def where_a_rank_goes_stays_its_own():
    if me() == 1:
        os.chdir("/")
    dist.barrier()
    return os.getcwd() == "/"


@program(size=3, often=False)
def random_numbers_are_the_same_everywhere():
    return random.random(), torch.rand(1).item()


@program(size=3)
def random_numbers_between_collectives():
    drawn = []
    for _ in range(3):
        drawn.append((random.random(), torch.rand(1).item()))
        dist.barrier()
    return drawn


@program()
def a_value_that_does_not_pickle():
    return (number for number in range(3))


@program()
def an_exception_that_does_not_pickle():
    class Local(Exception):
        def __reduce__(self):
            raise TypeError("stays here")

    raise Local("kept as text")


@program(often=False)
def deep_recursion():
    def again(depth):
        return again(depth + 1)

    return again(0)
