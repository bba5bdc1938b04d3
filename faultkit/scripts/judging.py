"""`ScriptJudge`: resumes a script from states in processes that have not imported torch.

For scripts that do not need torch either: a start of it would cost more than all their resumptions.  Used as
`faultkit.crash.Judge` is.  Workers are interpreters of their own that fork for every state, so each resumption is a
fresh process with a directory of its own, which ends at its deadline with all it started.  What a script imports,
it imports in each of them.  Left out: a limit on memory beyond that of the system, pruning, and OLD: a training that
is resumed has one right result.
"""

from __future__ import annotations

import contextlib
import pickle
import select
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import IO, Any

from faultkit.crash.scenario import Scenario, ScenarioError
from faultkit.crash.state import Judgement, State

__all__ = ["ScriptJudge", "receive", "send"]

SIZE = struct.Struct("!Q")
END_SECONDS_MAX = 10.0

Tree = dict[str, "bytes | str | None"]


def send(stream: IO[bytes], message: Any) -> None:
    """Write one message."""
    body = pickle.dumps(message, protocol=5)
    stream.write(SIZE.pack(len(body)) + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message.  Raises EOFError where the other end is gone."""
    head = stream.read(SIZE.size)
    if len(head) < SIZE.size:
        raise EOFError
    return pickle.loads(stream.read(SIZE.unpack(head)[0]))


class ScriptJudge:
    """Resumes the script of `scenario`, whose load is a `faultkit.scripts.resuming.Resumption`, on `workers` states
    at a time, each for at most `timeout_seconds`.  A context manager.

    loaded: how many resumptions have run.
    """

    pruning = False

    def __init__(self, scenario: Scenario, *, workers: int = 2, timeout_seconds: float = 60.0) -> None:
        self.scenario = scenario
        self.loaded = 0
        self.wrote = 0
        self._count = workers
        self._timeout_seconds = timeout_seconds
        self._workers: list[subprocess.Popen[bytes]] = []
        self._expected: Any = None
        self._known: dict[str, Judgement] = {}

    def __enter__(self) -> ScriptJudge:
        try:
            for _ in range(self._count):
                worker = subprocess.Popen(
                    [sys.executable, "-m", "faultkit.scripts.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C goes to this process alone, which then ends them
                )
                self._workers.append(worker)
                send(_in(worker), (self.scenario.load, self.scenario.directory, self._timeout_seconds))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers and what they resume; they remove their files.  Closing twice is fine."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                _in(worker).close()
        while self._workers:
            worker = self._workers.pop()
            try:
                worker.wait(timeout=END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()

    def expect(self, new: Tree, old: Tree | None = None) -> None:
        """Learn the right result from the finished save.  Raises ScenarioError where it cannot be resumed, or comes to
        another result each time."""
        first, second = (self._one(new) for _ in range(2))
        if first[0] != "VALUES":
            told = " ".join(part for part in first[1:4] if part)
            raise ScenarioError(
                f"scenario {self.scenario.name!r}: the finished save must load without any crash "
                f"(got {first[0]}: {told})"
            )
        if wrong := _differences(first[4], second[4]):
            raise ScenarioError(
                f"scenario {self.scenario.name!r}: two resumptions of the finished save must come to the same "
                f"(got differences in {', '.join(wrong)})"
            )
        self._expected = first[4]

    def judge(self, state: State) -> Judgement:
        """What the resumption makes of `state`."""
        return next(judgement for _, judgement in self.judge_many([state]))

    def judge_many(self, states: Iterable[State]) -> Iterator[tuple[State, Judgement]]:
        """Each of `states` with its judgement, in the order in which they come to be known."""
        from faultkit.worlds.client import HarnessError

        source = iter(states)
        idle = deque(self._workers)
        flying: dict[int, tuple[subprocess.Popen[bytes], State]] = {}
        poller = select.poll()
        exhausted = False
        try:
            while flying or not exhausted:
                while idle and not exhausted:
                    state = next(source, None)
                    if state is None:
                        exhausted = True
                    elif state.key in self._known:
                        yield state, self._known[state.key]
                    else:
                        worker = idle.popleft()
                        send(_in(worker), state.tree)
                        flying[_out(worker).fileno()] = (worker, state)
                        poller.register(_out(worker), select.POLLIN | select.POLLHUP)
                if not flying:
                    continue
                for descriptor, _ in poller.poll():
                    worker, state = flying.pop(descriptor)
                    poller.unregister(descriptor)
                    try:
                        answer = receive(_out(worker))
                    except EOFError:
                        raise HarnessError("a process that resumes scripts is gone") from None
                    idle.append(worker)
                    yield state, self._remember(state, answer)
        finally:
            for (
                worker,
                _,
            ) in flying.values():  # the caller left: what is under way must not answer later states
                with contextlib.suppress(EOFError):
                    receive(_out(worker))

    def _one(self, tree: Tree) -> Any:
        worker = self._workers[0]
        send(_in(worker), tree)
        return receive(_out(worker))

    def _remember(self, state: State, answer: Any) -> Judgement:
        self.loaded += 1
        verdict, type_name, message, detail, values = answer
        if verdict == "VALUES":
            wrong = _differences(values, self._expected)
            verdict = "GARBAGE" if wrong else "NEW"
            detail = f"another {', another '.join(wrong)} than without a crash" if wrong else ""
        self._known[state.key] = Judgement(verdict, type_name, message, detail, loaded=False)
        return Judgement(verdict, type_name, message, detail)


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def _in(worker: subprocess.Popen[bytes]) -> IO[bytes]:
    assert worker.stdin is not None
    return worker.stdin


def _out(worker: subprocess.Popen[bytes]) -> IO[bytes]:
    assert worker.stdout is not None
    return worker.stdout
