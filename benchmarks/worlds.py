"""What runs on real ranks cost: worlds started, plans run, deaths and deadlocks noticed, each beside its peer."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks import workload
from faultkit import World

__all__ = [
    "deadlock",
    "death",
    "death_in_torch",
    "examples",
    "fresh_world",
    "import_cost",
    "next_after_death",
    "one_test",
    "plugin_cost",
    "sixty_tests",
    "warm_plans",
    "watching",
]

Row = tuple[str, str, str, str]  # what, ours, theirs, ratio


def _turns(
    ours: Callable[[], float], theirs: Callable[[], float], count: int
) -> tuple[float, float, list[float]]:
    """Medians of both and the ratios theirs/ours, taken in turns so that both meet the same machine."""
    pairs = [(ours(), theirs()) for _ in range(count)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        sorted(b / a for a, b in pairs),
    )


def _ratio(ratios: list[float], digits: int = 1) -> str:
    middle = statistics.median(ratios)
    return f"{middle:.{digits}f}x ({ratios[0]:.{digits}f} to {ratios[-1]:.{digits}f})"


def fresh_world() -> Row:
    """A fresh world of 4: started, group formed, one faulted save, torn down."""
    from benchmarks.peers import spawn

    def ours() -> float:
        began = time.perf_counter()
        with World(4, kind="fresh") as world:
            assert world.run(workload.save, plan=workload.plan_number(8)).verdict.value == "HELD"
        return time.perf_counter() - began

    ours()
    a, b, ratios = _turns(ours, spawn.measure_seconds, 3)
    return "fresh world of 4, one faulted save / mp.spawn", f"{a:.3f} s", f"{b:.2f} s", _ratio(ratios)


def warm_plans() -> Row:
    """Plans per second on a warm world of 4 against a hand-written loop on four forked ranks."""
    from benchmarks.peers import fork_loop

    count = 200
    with World(4) as world:
        workload.run_plans(world, 32)
        a, b, ratios = _turns(
            lambda: workload.run_plans(world, count) / count,
            lambda: 1 / fork_loop.measure(count).plans_per_second,
            7,
        )
    return (
        "plans/s, warm world of 4 / hand-written loop",
        f"{1 / a:.1f}/s",
        f"{1 / b:.1f}/s",
        _ratio(ratios, 2),
    )


def sixty_tests() -> Row:
    """60 plans as 60 tests, whole process, against torch's MultiProcContinuousTest."""
    from benchmarks.peers import continuous

    def ours() -> float:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:xdist",
             "-p", "no:cacheprovider", "-c", os.devnull,
             "--rootdir", ".", "benchmarks/suite_of_plans.py"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert "60 passed" in done.stdout, done.stdout
        return time.perf_counter() - began

    a, b, ratios = _turns(ours, continuous.measure_seconds, 3)
    return "60 tests, whole process / MultiProcContinuousTest", f"{a:.1f} s", f"{b:.1f} s", _ratio(ratios)


def one_test() -> Row:
    """One plan in a fresh world against one test of torch's MultiProcessTestCase, after start-up of both."""
    from benchmarks.peers import multiprocess_testcase

    def ours() -> float:
        began = time.perf_counter()
        run = world.run(workload.save, plan=workload.plan_number(8))
        assert run.verdict.value == "HELD"
        return time.perf_counter() - began

    with World(4, kind="fresh") as world:
        ours()
        a, b, ratios = _turns(ours, multiprocess_testcase.measure_seconds, 3)
    return "one plan in a fresh world / MultiProcessTestCase test", f"{a:.3f} s", f"{b:.2f} s", _ratio(ratios)


def import_cost() -> Row:
    """What faultkit adds to a rank over torch and DCP."""
    text = (
        "import time, torch, torch.distributed.checkpoint; t = time.perf_counter(); "
        "import faultkit.worlds.rank, faultkit.injection.arming; print(time.perf_counter() - t)"
    )
    taken = sorted(
        float(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True).stdout)
        for _ in range(5)
    )
    return "import of faultkit over torch and DCP", f"{taken[2] * 1000:.0f} ms", "100 ms at most", ""


def plugin_cost() -> Row:
    """Loading the plugin in a suite that does not use it: pytest with it against pytest without."""
    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "test_nothing.py").write_text("def test_nothing(): pass\n")

        def pytest_seconds(*options: str) -> float:
            began = time.perf_counter()
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:randomly",
                "-p",
                "no:cacheprovider",
                *options,
            ]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            return time.perf_counter() - began

        pytest_seconds()
        pairs = [(pytest_seconds(), pytest_seconds("-p", "no:faultkit")) for _ in range(15)]
    added = statistics.median(a - b for a, b in pairs)
    with_it, without = statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
    return (
        "pytest with the plugin, unused / without",
        f"{with_it * 1000:.0f} ms",
        f"{without * 1000:.0f} ms",
        f"+{added * 1000:.1f} ms (30 ms at most)",
    )


def death() -> Row:
    """SIGKILL of one of 4 ranks: from the kill to a complete verdict."""
    taken = []
    with World(4) as world:
        world.run(workload.save)
        for index in range(5):
            run = world.run(workload.save, plan=f"writer.write_data@{index % 4}=kill(SIGKILL)")
            assert run.outcomes[index % 4].kind == "died"
            began = time.perf_counter()
            assert run.verdict
            taken.append(run.seconds - run.fired[0].seconds + time.perf_counter() - began)
    return (
        "SIGKILL of one of 4 ranks: kill to verdict",
        f"{statistics.median(taken):.2f} s",
        "0.5 s at most",
        "",
    )


def death_in_torch() -> Row:
    """The same in torch's MultiProcContinuousTest (takes a minute and a half)."""
    from benchmarks.peers import death_continuous

    ours = float(death()[1].split()[0])
    theirs = death_continuous.measure().noticed_seconds
    return (
        "SIGKILL of one rank / MultiProcContinuousTest",
        f"{ours:.2f} s",
        f"{theirs:.0f} s",
        f"{theirs / ours:.0f}x",
    )


def deadlock() -> Row:
    """4 ranks in a deadlock: from the last progress to HUNG with all stacks."""
    taken = []
    with World(4) as world:
        world.run(workload.save)
        for index in range(5):
            run = world.run(
                workload.save, plan=f"comm.gather_object@{index % 4}=raise(ValueError)", timeout=60
            )
            assert run.verdict.value == "HUNG" and all(
                o.stack for o in run.outcomes.values() if o.kind == "hung"
            )
            last = max(event.seconds for event in run.events)
            taken.append(run.seconds - last)
    return (
        "deadlock of 4 ranks: last progress to HUNG",
        f"{statistics.median(taken):.2f} s",
        "1 s at most",
        "",
    )


def next_after_death() -> Row:
    """The next run after a death against a bare fork and group formation of as many ranks."""
    from benchmarks.peers import fork_loop

    def ours() -> float:
        world.run(_die)
        began = time.perf_counter()
        run = world.run(_rank)
        assert [o.kind for o in run.outcomes.values()] == ["returned"] * 4
        return time.perf_counter() - began

    with World(4) as world:
        world.run(_rank)
        a, b, ratios = _turns(ours, lambda: fork_loop.measure(1).start_seconds, 7)
    inverse = sorted(1 / ratio for ratio in ratios)
    return "next run after a death / bare fork and group", f"{a:.3f} s", f"{b:.3f} s", _ratio(inverse, 2)


def watching() -> Row:
    """What watching adds to a plan on a warm world."""
    from faultkit.worlds import supervision

    count = 100

    def plain(watched: bool) -> float:
        began = time.perf_counter()
        for _ in range(count):
            world.run(_save_watched if watched else _save_unwatched)
        return (time.perf_counter() - began) / count

    def unwatched() -> float:
        tick, supervision.TICK_SECONDS = supervision.TICK_SECONDS, 60.0
        try:
            return plain(False)
        finally:
            supervision.TICK_SECONDS = tick

    with World(4) as world:
        plain(True), unwatched()
        a, b, ratios = _turns(lambda: plain(True), unwatched, 9)
    return (
        "a run watched / not watched",
        f"{a * 1000:.1f} ms",
        f"{b * 1000:.1f} ms",
        _ratio(sorted(1 / r for r in ratios), 3),
    )


def examples() -> Row:
    """Examples per second of ``@given(rank_failures(4))`` over a save, against a plain loop over the same plans."""
    import hypothesis

    from faultkit import strategies

    count, plans = 100, []  # as many as Hypothesis tries by default

    def judged(plan: object) -> None:
        assert world.run(workload.save, plan=plan).verdict.value == "HELD"  # type: ignore[arg-type]

    def given() -> float:
        plans.clear()

        @hypothesis.settings(
            max_examples=count,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(plan=strategies.rank_failures(4))
        def examples(plan: object) -> None:
            plans.append(plan)
            judged(plan)

        began = time.perf_counter()
        examples()
        return (time.perf_counter() - began) / len(plans)

    def loop() -> float:
        began = time.perf_counter()
        for plan in plans:
            judged(plan)
        return (time.perf_counter() - began) / len(plans)

    with World(4) as world:
        workload.run_plans(world, 32)
        given()
        a, b, ratios = _turns(given, loop, 11)
    return (
        "examples/s, world of 4, @given / plain loop over the same plans",
        f"{1 / a:.1f}/s",
        f"{1 / b:.1f}/s",
        _ratio(ratios, 2),
    )


def _die() -> None:
    import torch.distributed as dist

    if dist.get_rank() == 2:
        os._exit(3)


def _rank() -> int:
    import torch.distributed as dist

    return dist.get_rank()


def _save_watched() -> None:
    workload.save()


def _save_unwatched() -> None:
    from faultkit.hooks import thread_states

    thread_states.attach(None)
    workload.save()
