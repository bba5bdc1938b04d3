"""The deadlock detector says that a run hangs when nobody can go on, at once where that is proven, and never before."""

from __future__ import annotations

import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultkit.processes.memory import GroupState, ThreadState
from faultkit.processes.procfs import Poll
from faultkit.worlds import deadlock_detector
from faultkit.worlds.deadlock_detector import DeadlockDetector, RankView, stuck_ranks, waiting_texts

TICK_SECONDS = 0.02
CLOCK = (1, 0)  # CPU time of a process that sleeps


def blocked(rank, kind="allreduce", sequence=1, group="0", peer=-1, entered=None, label="", **more):
    """A rank inside a call of a group."""
    states = tuple(GroupState(name, n, n, 0, 0) for name, n in (entered or {group: sequence}).items())
    call = ThreadState(100 + rank, kind, group, label, sequence, peer, 0)
    return RankView(rank, "running", "", call, states, clock=more.pop("clock", CLOCK), **more)


def running(rank, entered=0, **more):
    return RankView(rank, "running", "", None, (GroupState("0", entered, entered, 0, 0),), **more)


def gone(rank, state="finished", entered=0, ending="raised ValueError", **more):
    return RankView(rank, state, ending, None, (GroupState("0", entered, entered, 0, 0),), **more)


def by_rank(*views):
    return {view.rank: view for view in views}


@pytest.fixture
def seconds_until_hung(monkeypatch):
    """Shows the detector pictures at its usual pace; gives the time of its verdict, None within 2 seconds."""

    def watch(*pictures, tick_seconds=TICK_SECONDS):
        now = [1000.0]
        monkeypatch.setattr(deadlock_detector, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
        judge = DeadlockDetector()
        for index in range(int(2.0 / tick_seconds)):
            if judge.hangs(by_rank(*pictures[min(index, len(pictures) - 1)])):
                return round(now[0] - 1000.0, 6)
            now[0] += tick_seconds
        return None

    return watch


# -- what is proven ------------------------------------------------------------------------------


def test_ranks_that_wait_for_one_that_raised_hang(seconds_until_hung):
    assert seconds_until_hung([blocked(0), blocked(1), gone(2)]) <= 0.05


def test_a_rank_in_its_own_code_is_never_hung(seconds_until_hung):
    assert seconds_until_hung([blocked(0), blocked(1), running(2)]) is None


def test_nobody_hangs_while_all_members_have_come(seconds_until_hung):
    assert stuck_ranks(by_rank(blocked(0), blocked(1))) is None


def test_two_ranks_in_calls_of_two_groups_wait_for_each_other(seconds_until_hung):
    one = blocked(0, group="a", entered={"a": 1, "b": 0})
    two = blocked(1, group="b", entered={"a": 0, "b": 1})
    assert stuck_ranks(by_rank(one, two)) == {0, 1}
    assert seconds_until_hung([one, two]) <= 0.05


def test_a_call_of_a_subgroup_needs_its_members_alone():
    pair = {"sub": (0, 1)}
    views = [blocked(rank, group="sub", entered={"sub": 1}, members=pair) for rank in (0, 1)]
    assert stuck_ranks(by_rank(*views, gone(2))) is None


def test_a_chain_of_waiting_is_followed_to_the_one_who_can_go_on():
    # 0 waits for 1 in group a; 1 waits for 2 in group b; 2 runs
    zero = blocked(0, group="a", entered={"a": 1}, members={"a": (0, 1)})
    one = blocked(1, group="b", entered={"b": 1}, members={"b": (1, 2)})
    assert stuck_ranks(by_rank(zero, one, running(2))) is None
    assert stuck_ranks(by_rank(zero, one, gone(2))) == {0, 1}


def test_a_receiver_of_a_broadcast_hangs_without_its_root_and_not_without_another_receiver():
    receivers = [blocked(rank, "broadcast", peer=0) for rank in (1, 2)]
    assert stuck_ranks(by_rank(gone(0), *receivers)) == {1, 2}
    assert stuck_ranks(by_rank(blocked(0, "broadcast", peer=0), receivers[0], gone(2))) is None


def test_the_root_of_a_gather_hangs_without_a_sender_and_a_sender_not_surely():
    assert stuck_ranks(by_rank(blocked(0, "gather", peer=0), gone(1))) == {0}
    assert stuck_ranks(by_rank(gone(0), blocked(1, "gather", peer=0))) is None


def test_a_thread_that_may_help_is_not_overlooked(seconds_until_hung):
    assert seconds_until_hung([blocked(0), gone(1, busy=True)]) is None
    assert seconds_until_hung([blocked(0, busy=True), gone(1)]) is None
    assert stuck_ranks(by_rank(blocked(0), gone(1, helpers=True))) is None


def test_a_rank_frozen_by_plan_ends_the_run_once_all_others_are_done(seconds_until_hung):
    assert seconds_until_hung([gone(0), gone(1, "frozen", ending="hangs by plan")]) <= 0.05
    assert seconds_until_hung([running(0), gone(1, "frozen", ending="hangs by plan")]) is None
    assert seconds_until_hung([blocked(0), gone(1, "frozen", ending="hangs by plan")]) <= 0.05


def test_a_run_in_which_all_are_done_does_not_hang(seconds_until_hung):
    assert seconds_until_hung([gone(0), gone(1, "dead")]) is None


# -- what has settled ----------------------------------------------------------------------------

UNPROVEN = {
    "a member died": [blocked(0), gone(1, "dead")],
    "the kinds do not match": [blocked(0, "allreduce"), blocked(1, "barrier")],
    "a receiver without a sender": [blocked(0, "recv", 0, peer=1), gone(1)],
    "a receiver from anybody": [blocked(0, "recv_anysource", 0), gone(1)],
    "two receivers": [blocked(0, "recv", 0, peer=1), blocked(1, "recv", 0, peer=0)],
    "a key that nobody sets": [blocked(0, "store.wait", 0, group=""), gone(1)],
    "a thread that sleeps elsewhere": [blocked(0), gone(1, helpers=True)],
}


@pytest.mark.parametrize("case", UNPROVEN)
def test_what_is_not_proven_must_have_settled(seconds_until_hung, case):
    seconds = seconds_until_hung(UNPROVEN[case])

    assert (
        deadlock_detector.SETTLED_SECONDS <= seconds <= deadlock_detector.SETTLED_SECONDS + 2 * TICK_SECONDS
    )


def test_cpu_time_used_is_a_sign_of_life(seconds_until_hung):
    ticking = [[blocked(0, clock=(1, ticks)), gone(1, "dead")] for ticks in range(200)]
    assert seconds_until_hung(*ticking) is None


def test_a_running_thread_is_a_sign_of_life(seconds_until_hung):
    assert seconds_until_hung([blocked(0, clock=()), gone(1, "dead")]) is None


def test_progress_starts_the_clock_again(seconds_until_hung):
    steps = [[blocked(0, sequence=step // 10 + 1), gone(1, "dead")] for step in range(60)]
    assert seconds_until_hung(*steps) >= 50 * TICK_SECONDS + deadlock_detector.SETTLED_SECONDS


def test_looks_far_apart_prove_as_much(seconds_until_hung):
    assert seconds_until_hung([blocked(0), gone(1)], tick_seconds=0.5) == 0.5


def test_a_long_pause_between_two_looks_counts_as_a_short_one(seconds_until_hung):
    # the machine may have been suspended: three pauses of a tenth of a second, as far as anybody knows
    assert seconds_until_hung([blocked(0), gone(1, "dead")], tick_seconds=0.3) == pytest.approx(0.9)


def test_a_thread_that_polls_must_have_looked_meanwhile(seconds_until_hung):
    def picture(turns, sleeps=False):
        return [blocked(0, polls=(Poll(7, sleeps, turns),)), gone(1, "dead")]

    assert seconds_until_hung(picture(5)) is None  # it waits for a processor all the time
    assert seconds_until_hung(*[picture(5 + look) for look in range(200)]) <= 0.3
    assert seconds_until_hung(picture(5), picture(5, sleeps=True)) <= 0.3  # nothing was there to see


# -- waits within a rank -------------------------------------------------------------------------


def waiting(rank, *calls, entered=None, **more):
    """A rank whose main thread waits for another of its own; `calls` is what its other threads are inside."""
    states = tuple(GroupState(name, n, n, 0, 0) for name, n in (entered or {"0": 1}).items())
    return RankView(
        rank, "running", "", None, states, waits=True, others=calls, clock=CLOCK, helpers=True, **more
    )


def call(kind="gather", sequence=1, label="", group="0", thread=7):
    return ThreadState(thread, kind, group, label, sequence, -1, 0)


def test_a_rank_that_waits_for_its_own_thread_hangs_with_what_that_waits_for(seconds_until_hung):
    views = [waiting(0, call("allreduce")), gone(1)]

    assert deadlock_detector.SETTLED_SECONDS <= seconds_until_hung(views) <= 0.3
    assert waiting_texts(by_rank(*views)) == {
        0: "for its thread in allreduce, for rank 1, which raised ValueError before it"
    }


def test_a_rank_whose_other_threads_may_act_does_not_hang(seconds_until_hung):
    assert seconds_until_hung([waiting(0, busy=True), gone(1)]) is None
    assert seconds_until_hung([waiting(0), running(1)]) is None


def test_each_rank_is_told_with_the_save_that_it_is_in_where_there_are_several():
    first, second = "gather_object|plan|save 1", "gather_object|plan|save 2"
    views = by_rank(
        waiting(0, call(label=first), call("scatter", 2, second, thread=8), entered={"0": 2}),
        waiting(1, call(label=second)),
    )

    assert waiting_texts(views)[0] == (
        "for its thread in gather_object of step 'plan' of save 1, for rank 1, which is in gather_object of "
        "step 'plan' of save 2 and for its thread in gather_object of step 'plan' of save 2, for rank 1, which is in "
        "gather_object of step 'plan' of save 2, an earlier call"
    )


def test_of_one_save_its_number_says_nothing():
    views = by_rank(waiting(0, call(label="gather_object|plan|save 1")), gone(1))

    assert waiting_texts(views)[0].startswith("for its thread in gather_object of step 'plan', for rank 1")


# -- the text ------------------------------------------------------------------------------------


def test_the_text_says_who_waits_where_and_for_whom():
    label = "scatter_object|plan"
    views = by_rank(blocked(0, "scatter", label=label, peer=1), gone(1), running(2), blocked(3, label=label))

    assert waiting_texts(views)[0] == (
        "in scatter_object of step 'plan', for rank 1, which raised ValueError before it; "
        "rank 2, which has not come to it"
    )


def test_the_text_names_the_earlier_call_in_which_another_waits():
    views = by_rank(blocked(0, "barrier", 2), blocked(1, "allreduce", 1))

    assert waiting_texts(views)[0] == "in barrier, for rank 1, which is in allreduce, an earlier call"
    assert waiting_texts(views)[1] == "in allreduce"


def test_the_text_names_a_rank_that_is_held_inside_the_same_call():
    held = RankView(1, "frozen", "hangs by plan at clock.millisecond", None, (GroupState("0", 3, 2, 0, 0),))
    through = gone(2, "frozen", 3, "hangs by plan at clock.millisecond")

    assert waiting_texts(by_rank(blocked(0, "barrier", 3), held, through))[0] == (
        "in barrier, for rank 1, which hangs by plan at clock.millisecond inside it"
    )


# -- against a simulator -------------------------------------------------------------------------


class Simulated:
    """Ranks that run lists of collectives of groups, one call at a time; naive on purpose."""

    def __init__(self, groups, programs, ends):
        self.groups, self.programs, self.ends = groups, programs, ends
        self.done = dict.fromkeys(programs, 0)  # calls left behind
        self.inside = dict.fromkeys(programs, False)

    def entered(self, rank, group):
        calls = self.programs[rank][: self.done[rank] + self.inside[rank]]
        return calls.count(group)

    def can_step(self, rank):
        if self.inside[rank]:
            group = self.programs[rank][self.done[rank]]
            return all(self.entered(m, group) >= self.entered(rank, group) for m in self.groups[group])
        return self.done[rank] < len(self.programs[rank])

    def step(self, rank):
        if self.inside[rank]:
            self.done[rank] += 1
        self.inside[rank] = not self.inside[rank]

    def enabled(self):
        return [rank for rank in self.programs if self.can_step(rank)]

    def views(self):
        found = {}
        for rank, program in self.programs.items():
            states = tuple(GroupState(g, self.entered(rank, g), 0, 0, 0) for g in self.groups)
            call, state = None, "running"
            if self.inside[rank]:
                group = program[self.done[rank]]
                call = ThreadState(rank, "allreduce", group, "", self.entered(rank, group), -1, 0)
            elif self.done[rank] == len(program):
                state = self.ends[rank]
            members = {group: tuple(sorted(ranks)) for group, ranks in self.groups.items()}
            found[rank] = RankView(rank, state, "", call, states, members, clock=CLOCK)
        return found


@st.composite
def simulations(draw):
    ranks = range(draw(st.integers(2, 5)))
    some_ranks = st.sets(st.sampled_from(ranks), min_size=1)
    groups = {"all": set(ranks)} | {name: draw(some_ranks) for name in "ab"}
    programs, ends = {}, {}
    for rank in ranks:
        own = [name for name, members in groups.items() if rank in members]
        programs[rank] = draw(st.lists(st.sampled_from(own), max_size=5))
        ends[rank] = draw(st.sampled_from(["finished", "frozen", "dead"]))
    return Simulated(groups, programs, ends)


@given(simulations(), st.randoms(use_true_random=False))
def test_it_agrees_with_a_simulator_at_every_step(simulation, random):
    while True:
        enabled, views = simulation.enabled(), simulation.views()
        stuck = {
            rank for rank, inside in simulation.inside.items() if inside and not simulation.can_step(rank)
        }
        proven = stuck_ranks(views)
        if enabled:
            assert proven is None  # somebody can go on: whatever the order, that is no hang
            simulation.step(random.choice(enabled))
            continue
        if not any(view.state == "dead" for view in views.values()):
            assert (proven or set()) == stuck  # nobody can: the very ranks that wait are named
        elif proven is not None:
            assert proven == stuck
        return
