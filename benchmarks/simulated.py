"""The simulated world's figures: against warm ranks, torch's threaded process group, and the engine itself."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time

from benchmarks import workload
from faultkit import World

__all__ = [
    "simulated_deadlock",
    "simulated_four_thousand",
    "simulated_jobs",
    "simulated_plans",
    "simulated_sixty_four",
    "simulated_thousand",
]

Row = tuple[str, str, str, str]


def simulated_plans() -> Row:
    """A faulted save on 4 simulated ranks against the same on 4 warm ones, judged."""
    count, ratios = 60, []
    with World(4) as warm, World(4, kind="simulated") as simulated:
        workload.run_plans(warm, 16), workload.run_plans(simulated, 16)
        for _ in range(7):
            theirs = workload.run_plans(warm, count) / count
            ours = workload.run_plans(simulated, count) / count
            ratios.append((theirs / ours, ours, theirs))
    ratio, ours, theirs = sorted(ratios)[len(ratios) // 2]
    return (
        "faulted save on 4 simulated ranks / on 4 warm ranks",
        f"{ours * 1000:.1f} ms",
        f"{theirs * 1000:.1f} ms",
        f"{ratio:.2f}x (1 at least)",
    )


def simulated_jobs() -> Row:
    """A sweep of faulted saves on two simulated worlds of 4 ranks side by side against one on a warm world."""
    from faultkit.sweep import sweep

    plans = [workload.plan_number(index) for index in range(16)] * 12
    rates: dict[str, list[float]] = {"warm": [], "simulated": []}
    for _ in range(5):
        for kind, jobs in (("warm", 1), ("simulated", 2)):
            journal = sweep("benchmarks.workload:save", kind=kind, jobs=jobs, plans=plans)
            assert {result.verdict.value for result in journal.results} == {"HELD"}
            rates[kind].append(len(plans) / journal.seconds)
    ratios = sorted(ours / theirs for ours, theirs in zip(rates["simulated"], rates["warm"], strict=True))
    return (
        "sweep of faulted saves: simulated, --jobs 2 / warm, --jobs 1",
        f"{statistics.median(rates['simulated']):.0f} plans/s",
        f"{statistics.median(rates['warm']):.0f} plans/s",
        f"{statistics.median(ratios):.2f}x (2 wanted; {ratios[0]:.2f} to {ratios[-1]:.2f})",
    )


def simulated_sixty_four() -> Row:
    """A faulted save on 64 simulated ranks against torch's threaded process group with as many threads."""
    from benchmarks.peers import threaded_group

    plan = "writer.write_data@1=raise(ValueError)"
    ratios = []
    with World(64, kind="simulated", timeout=120) as world:
        world.run(workload.save, plan=plan)
        for _ in range(3):
            theirs = threaded_group.measure_seconds(64)
            taken = []
            for _ in range(3):
                began = time.perf_counter()
                assert world.run(workload.save, plan=plan).outcomes[5].kind == "raised"
                taken.append(time.perf_counter() - began)
            ours = statistics.median(taken)
            ratios.append((theirs / ours, ours, theirs))
    ratio, ours, theirs = sorted(ratios)[len(ratios) // 2]
    return (
        "faulted save on 64 simulated ranks / torch's threaded process group",
        f"{ours:.3f} s",
        f"{theirs:.3f} s",
        f"{ratio:.2f}x (1.6 at least)",
    )


def simulated_deadlock() -> Row:
    """64 simulated ranks in a deadlock: the whole run, to HUNG with all stacks."""
    taken = []
    with World(64, kind="simulated", timeout=60) as world:
        for _ in range(5):
            world.prepare()
            began = time.perf_counter()
            run = world.run(workload.save, plan="comm.gather_object@7=raise(ValueError)")
            assert run.verdict.value == "HUNG" and run.outcomes[9].kind == "hung"
            taken.append(time.perf_counter() - began)
    return (
        "deadlock of 64 simulated ranks: start to HUNG",
        f"{statistics.median(taken):.2f} s",
        "0.5 s at most",
        "",
    )


def simulated_thousand() -> Row:
    """One faulted save to files on 1,024 simulated ranks, against the CPU time of the engine and the program."""
    return _many(1024)


def simulated_four_thousand() -> Row:
    """The same on 4,096 ranks: minutes, most of them the engine's square."""
    return _many(4096)


def _many(count: int) -> Row:
    with World(count, kind="simulated", timeout=3000) as world, tempfile.TemporaryDirectory() as directory:
        run = world.run(_save, directory, plan="writer.write_data@1=raise(ValueError)")
        assert {outcome.kind for outcome in run.outcomes.values()} == {"raised"}
        assert run.simulation is not None
        (pid,) = world.pids().values()
        with open(f"/proc/{pid}/status") as status:
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    program, whole = run.simulation.program_seconds, run.simulation.cpu_seconds
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (
        f"faulted save on {count:,} simulated ranks ({peak / (1 << 20):.1f} GiB, caller {own / (1 << 20):.1f} GiB)",
        f"{whole:.1f} s of CPU",
        f"{program:.1f} s of CPU",
        f"{whole / program:.2f}x (1.3 at most)",
    )


def _save(directory: str) -> None:
    import torch
    import torch.distributed.checkpoint as dcp

    dcp.save({"weight": torch.ones(20, 20), "steps": [1, 2, 3, 4]}, checkpoint_id=directory)
