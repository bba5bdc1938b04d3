"""The parent's side of a simulated run: send the call to the host, wait for the one message, make a run of it."""

from __future__ import annotations

import contextlib
import select
import time
from typing import Any

from faultkit.exceptions import HarnessError, NotSimulatedError
from faultkit.processes import serialization
from faultkit.processes.channel import ChannelClosed
from faultkit.runs import launcher
from faultkit.runs.outcomes import Died, Hung, Outcome
from faultkit.runs.run import Run
from faultkit.worlds.rank import Call
from faultkit.worlds.rank_processes import RankProcesses, exit_words
from faultkit.worlds.simulated.messages import Schedule, SimulatedCall, Simulation
from faultkit.worlds.stacks import shorten

__all__ = ["SimulatedSupervision", "supervise"]

WIDE_SIZE = 64
WIDE_SECONDS_PER_RANK = 0.3  # of real time: that a world is wide and the machine slow makes no rank hang
GRACE_SECONDS = 8.0  # for the host to say itself that the time is over


def supervise(
    processes: RankProcesses,
    call: Call,
    size: int,
    timeout_seconds: float,
    backend: str,
    group_timeout: float | None,
    schedule: Schedule | None = None,
    kept_by: str = launcher.NONE,
) -> SimulatedSupervision:
    """What follows one run of `call` on the host that is the only one of `processes`."""
    order = SimulatedCall(
        call=call,
        size=size,
        backend=backend,
        limit_seconds=timeout_seconds,
        real_seconds=max(timeout_seconds, WIDE_SECONDS_PER_RANK * size if size > WIDE_SIZE else 0.0),
        group_timeout_seconds=group_timeout,
        schedule=schedule,
        launcher=kept_by,
    )
    return SimulatedSupervision(processes, order, timeout_seconds)


class SimulatedSupervision:
    """One run on the host of a simulated world."""

    def __init__(self, processes: RankProcesses, order: SimulatedCall, timeout_seconds: float) -> None:
        self.processes, self.order, self.timeout_seconds = processes, order, timeout_seconds
        self.call: Call = order.call
        self.outcomes: dict[int, Outcome] = {}

    def run(self, *, may_not_fire: bool = False) -> Run:
        processes = self.processes
        processes.wait_ready()
        host = processes.ranks[0]
        host.clear()
        started = time.monotonic()
        with contextlib.suppress(ChannelClosed):
            host.channel.send(("call", self.order))
        attempts = self.call.attempts_after + 1
        result = self._follow(started + attempts * self.order.real_seconds + GRACE_SECONDS)
        seconds = time.monotonic() - started
        if result is None:
            result = self._lost()
        if result["refusal"]:
            raise NotSimulatedError(f"this cannot be simulated: {result['refusal']}")
        ends = {rank: [_outcome(end) for end in attempts] for rank, attempts in result["attempts"].items()}
        outcomes = {rank: attempts[0] for rank, attempts in ends.items()}
        processes.healthy = bool(result["whole"])
        run = Run(
            plan=self.call.plan,
            world_size=self.order.size,
            kind="simulated",
            outcomes=outcomes,
            logs=result["logs"],
            started_ns=0,
            output=result["output"],
            seconds=seconds,
            timeout_seconds=self.timeout_seconds,
            may_not_fire=may_not_fire,
            attempts_after={rank: tuple(attempts[1:]) for rank, attempts in ends.items() if attempts[1:]},
            seed=self.call.seed,
            launcher=self.order.launcher,
        )
        run.simulation = result["simulation"]
        return run

    def _follow(self, deadline: float) -> dict[str, Any] | None:
        processes, host = self.processes, self.processes.ranks[0]
        poller = select.poll()
        poller.register(host.channel.fileno(), select.POLLIN)
        poller.register(processes.channel.fileno(), select.POLLIN)
        while (remaining := deadline - time.monotonic()) > 0:
            for descriptor, _ in poller.poll(remaining * 1000):
                if descriptor == host.channel.fileno():
                    try:
                        for verb, content in host.channel.receive_ready():
                            if verb == "failed":
                                raise HarnessError(f"the host of the simulated ranks failed:\n{content}")
                            return content
                    except ChannelClosed:
                        poller.unregister(descriptor)
                else:
                    processes.poll_server()
                    if host.exitcode is not None:
                        return None
        return None

    def _lost(self) -> dict[str, Any]:
        """The host did not answer: it ended, or a rank keeps the interpreter to itself."""
        host = self.processes.ranks[0]
        ranks = range(self.order.size)
        end: tuple[str, Any]
        if host.exitcode is not None:
            end = ("died", exit_words(host.exitcode))
        else:
            end = ("hung", (shorten(self.processes.dump_stacks([0]).get(0, "")), ""))
        return {
            "attempts": {rank: [end] for rank in ranks},
            "logs": dict.fromkeys(ranks, b""),
            "output": dict.fromkeys(ranks, host.output()),
            "refusal": "",
            "whole": False,
            "simulation": Simulation(seed=self.call.seed, is_certain=False),
        }


def _outcome(message: tuple[str, Any]) -> Outcome:
    kind, content = message
    if kind == "hung":
        return Hung(*content)
    if kind == "died":
        return Died(*content)
    return serialization.decode_outcome(message)
