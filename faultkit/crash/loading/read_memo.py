"""What loads have shown so far, as a tree of questions: most states are answered without a load.

A node asks what the load asked next; its branches are the answers seen; a leaf is the judgement.  A state walks
from the root by the answers that its own tree gives.  Sound as long as a load asks next what follows from the
answers so far; a load that asks in another order (threads) makes a node with several questions, each tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faultkit.crash.enumeration.state import Judgement, State

__all__ = ["Answers", "ReadMemo"]

LINKS_MAX = 40
_MISSING = object()

Tree = dict[str, "bytes | str | None"]


class Answers:
    """The answers that trees give.  Contents are known by identity, so a tree must keep its objects alive.

    derive: the answer to the question ("derived",), of the whole tree.
    """

    def __init__(self, derive: Callable[[Tree], Any] | None = None) -> None:
        self._derive = derive or (lambda tree: None)
        self._slices: dict[tuple[int, int, int], bytes] = {}
        self._same: dict[bytes, bytes] = {}
        self._kept: dict[int, bytes] = {}

    def of(self, state: State, question: tuple[Any, ...]) -> Any:
        kind = question[0]
        if kind == "tree":
            return state.key
        if kind == "derived":
            return self._derive(state.tree)
        found = _find(state.tree, question[1])
        if kind == "read":
            return self._slice(found, question[2], question[3]) if isinstance(found, bytes) else None
        if kind == "open":
            return "file" if isinstance(found, bytes) else "directory" if found is None else "nothing"
        if kind == "under":
            return _below(state.tree, question[1])
        if kind == "stat":
            return len(found) if isinstance(found, bytes) else -1 if found is None else "nothing"
        return _listing(state.tree, question[1], sizes=kind == "scan")

    def _slice(self, content: bytes, start: int, length: int) -> bytes:
        key = (id(content), start, length)
        known = self._slices.get(key)
        if known is None:
            self._kept[id(content)] = content
            part = content[start:] if length < 0 else content[start : start + length]
            known = self._slices[key] = self._same.setdefault(part, part)
        return known


def _find(tree: Tree, path: str) -> Any:
    """What stands at `path`: bytes, None for a directory, _MISSING; symbolic links are followed."""
    if path == "":
        return None
    found: Any = tree.get(path, _MISSING)
    if found is not _MISSING and not isinstance(found, str):
        return found
    at, waiting, links = "", path.split("/"), 0
    while waiting:
        part = waiting.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            at = at.rpartition("/")[0]
            continue
        here = f"{at}/{part}" if at else part
        found = tree.get(here, _MISSING)
        if isinstance(found, str):
            links += 1
            if links > LINKS_MAX or found.startswith("/"):
                return _MISSING
            waiting = found.split("/") + waiting
            continue
        if found is _MISSING or (waiting and found is not None):
            return _MISSING
        at = here
    return None if at == "" else tree.get(at, _MISSING)


def _listing(tree: Tree, path: str, sizes: bool) -> Any:
    found = _find(tree, path)
    if found is not None:
        return "nothing" if found is _MISSING else "file"
    prefix = f"{path}/" if path else ""
    names = []
    for name, content in tree.items():
        if name.startswith(prefix) and "/" not in name[len(prefix) :]:
            size = (len(content) if isinstance(content, bytes) else content) if sizes else 0
            names.append((name[len(prefix) :], size))
    return tuple(names)


def _below(tree: Tree, path: str) -> Any:
    """What a removal of `path` meets: all names at and beneath it, with the kind of each."""
    found = {
        name: "link" if isinstance(content, str) else "directory" if content is None else "file"
        for name, content in tree.items()
        if name == path or name.startswith(f"{path}/")
    }
    return tuple(sorted(found.items()))


class _Node:
    __slots__ = ("judgement", "questions")

    def __init__(self) -> None:
        self.questions: dict[tuple[Any, ...], dict[Any, _Node]] = {}
        self.judgement: Judgement | None = None


class ReadMemo:
    """The tree of questions of one scenario."""

    def __init__(self, derive: Callable[[Tree], Any] | None = None) -> None:
        self.answers = Answers(derive)
        self._root = _Node()
        self._loads: dict[int, tuple[Judgement, Tree, _Asked]] = {}  # by the judgement's identity

    def look_up(self, state: State) -> tuple[Judgement | None, Any]:
        """(the judgement of `state`, or None; then where knowledge ends: equal for states that one load may answer)."""
        waiting = [self._root]
        end: Any = (id(self._root), ())
        while waiting:
            node = waiting.pop()
            if node.judgement is not None:
                return node.judgement, None
            answers = []
            for question, branches in node.questions.items():
                answer = self.answers.of(state, question)
                answers.append(answer)
                child = branches.get(answer)
                if child is not None:
                    waiting.append(child)
            end = (id(node), tuple(answers))
        return None, end

    def learn(self, state: State, questions: list[tuple[Any, ...]], judgement: Judgement) -> None:
        """A load of `state` asked these questions and came to this judgement."""
        node = self._root
        for question in questions:
            branches = node.questions.setdefault(question, {})
            node = branches.setdefault(self.answers.of(state, question), _Node())
        node.judgement = judgement
        self._loads[id(judgement)] = (judgement, state.tree, _Asked(questions))

    def not_asked(self, state: State, judgement: Judgement) -> frozenset[tuple[str, Any]]:
        """The names, with what stands there in `state`, of which the load that `judgement` comes from never asked, and
        at which it met something else."""
        _, met, asked = self._loads.get(id(judgement), (judgement, state.tree, None))
        if asked is None:
            return frozenset()
        found = set()
        for name in {**met, **state.tree}:
            here, there = state.tree.get(name, _MISSING), met.get(name, _MISSING)
            if here is not there and (told := _kind(here)) != _kind(there) and name not in asked:
                found.add((name, told))
        return frozenset(found)


def _kind(content: Any) -> Any:
    if content is _MISSING:
        return "nothing"
    return "directory" if content is None else len(content) if isinstance(content, bytes) else "link"


class _Asked:
    """The names that some questions are about."""

    def __init__(self, questions: list[tuple[Any, ...]]) -> None:
        self._all = ("tree",) in questions
        self._names = {question[1] for question in questions if len(question) > 1}
        self._listed = {question[1] for question in questions if question[0] in ("list", "scan")}
        self._under = [question[1] for question in questions if question[0] == "under"]

    def __contains__(self, name: str) -> bool:
        return (
            self._all
            or name in self._names
            or name.rpartition("/")[0] in self._listed
            or any(name == above or name.startswith(f"{above}/") for above in self._under)
        )
