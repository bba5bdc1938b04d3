"""The load of a script: the command that resumes, run on a copy of a state, and what came of it.

Guarantees: the command gets a directory of its own, so that what it goes on to write reaches no other state.  It
fails with `ResumeFailed` where its status is not 0, with `LostWork` where it started from an older step than the
newest complete checkpoint that it was given.  Else its values are: the content of each result file, and what the
pattern of values found in its output.  Not covered: comparing with a tolerance.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from faultkit.crash.scripts.run_command import FileQuestions, Limit, run_ranks
from faultkit.exceptions import HarnessError, LostWork, ResumeFailed
from faultkit.messages import seen

__all__ = [
    "Resumption",
    "contents_of",
    "digest_of",
    "step_of",
    "with_directory",
]

LINE_CHARACTERS = 300
Contents = dict[str, bytes]  # of a checkpoint: its files by their path in it; "" where it is itself a file


class Resumed(dict[str, Any]):
    """The values, and the `step` that was resumed from, -1 where nothing is asked of it."""

    step = -1


class Resumption(msgspec.Struct, frozen=True):
    """Everything that one run of the command needs; called with the directory, it returns the values.

    `complete` has, for each checkpoint of the run without a crash, its step and its content.  `finished` is the
    digest of what that run left: there nothing is asked of the step, or a script that always starts over could
    not be explored at all.  `temporary` names the directory for temporary files beside the directory.
    """

    argv: tuple[str, ...]
    ranks: int = 1
    results: tuple[str, ...] = ()
    values: str = ""
    step: str = ""
    checkpoints: str = ""
    complete: tuple[tuple[str, int, dict[str, bytes]], ...] = ()
    in_process: bool = True
    finished: str = ""
    temporary: str = ""

    def __call__(self, directory: Path) -> dict[str, Any]:
        return self.resumed(directory)

    def resumed(
        self, directory: Path, asked: FileQuestions | None = None, limit: Limit | None = None
    ) -> Resumed:
        """The values; `asked` tells afterwards what they follow from, whether they came or an exception did.

        Raises ResumeFailed and LostWork, and TimeoutError where `limit` is reached; HarnessError where the command
        could not be resumed.
        """
        try:
            return self._resumed(directory, asked, limit)
        except (ResumeFailed, LostWork, TimeoutError):
            raise
        except Exception as error:
            raise HarnessError(f"{type(error).__name__}: {error}") from error

    def _resumed(self, directory: Path, asked: FileQuestions | None, limit: Limit | None) -> Resumed:
        newest = self.newest_complete(directory)
        _detach(directory)
        environment = {}
        if self.temporary:
            place = directory.parent / self.temporary
            place.mkdir(exist_ok=True)
            _detach(place)
            environment["TMPDIR"] = str(place)
        outputs: list[str] = []
        status, output = run_ranks(
            with_directory(self.argv, directory),
            self.ranks,
            in_process=self.in_process,
            asked=asked,
            limit=limit,
            told=outputs,
            environment=environment,
        )
        if asked is not None and asked.questions is not None and not status:
            asked.questions += self._questions_after(directory, asked)
        found = Resumed()
        if status:
            raise ResumeFailed(_how(status, output).replace(str(directory), "."))
        if self.step:
            told = self._step_of(outputs)
            step = told or 0
            found.step = step if newest is not None else -1
            if step < (newest or 0):
                how = f"resumed from step {step}"
                if told is None:
                    pattern = seen(self.step)
                    how = f"printed nothing that the pattern of the step {pattern} finds, which counts as step 0"
                raise LostWork(f"{how}, although the checkpoint of step {newest} is complete")
        for path in with_directory(self.results, directory):
            name = os.path.relpath(path, directory)
            try:
                found[name] = Path(path).read_bytes()
            except OSError as error:
                raise ResumeFailed(f"the command left no {name}: {error.strerror}") from None
        if self.values:
            for rank, text in enumerate(outputs):
                name = "values" if rank == 0 else f"values of rank {rank}"
                found[name] = [list(match) for match in _groups(self.values, text)]
        if not found:
            found["status"] = 0
        return found

    def refusal(self, values: dict[str, Any]) -> str | None:
        """Why nothing could be compared with these values of a finished training, None where something can."""
        if self.values and not any(found for name, found in values.items() if name.startswith("values")):
            return (
                f"the pattern of values {seen(self.values)} finds nothing in what the command prints when the finished "
                "training is resumed, so that nothing would be compared"
            )
        return None

    def _step_of(self, outputs: Sequence[str]) -> int | None:
        """The step that the ranks say they resumed from; None where none says.

        Raises ResumeFailed where they differ.
        """
        steps = {}
        for rank, text in enumerate(outputs):
            match = re.search(self.step, text)
            if match is None:
                continue
            try:
                steps[rank] = int(match.group(1))
            except (TypeError, ValueError):
                raise ResumeFailed(
                    f"the step resumed from is no number (got {seen(match.group(1))})"
                ) from None
        if len(set(steps.values())) > 1:
            told = ", ".join(f"rank {rank} from {step}" for rank, step in steps.items())
            raise ResumeFailed(f"the ranks resumed from different steps: {told}")
        return next(iter(steps.values()), None)

    def _questions_after(self, directory: Path, asked: FileQuestions) -> list[tuple[Any, ...]]:
        """What is asked of the tree besides: results that the command left as they were, and what it could use."""
        questions: list[tuple[Any, ...]] = [("derived",)] if self.complete else []
        for path in with_directory(self.results, directory):
            name = os.path.relpath(path, asked.root)
            above = {
                name[: place + 1] for place in range(len(name)) if name[place + 1 : place + 2] in ("/", "")
            }
            if not above & asked.own:
                questions += [("open", name), ("read", name, 0, -1)]
        return questions

    def newest_in(self, tree: dict[str, bytes | str | None], directory: str) -> int:
        """As `newest_complete`, of a tree that is not on any disk, and -1 for None; `directory` is its name there."""
        if digest_of_tree(tree, directory) == self.finished:
            return -1
        steps = [
            step for name, step, content in self.complete if _lies_in(tree, f"{directory}/{name}", content)
        ]
        return max(steps, default=0)

    def newest_complete(self, directory: Path) -> int | None:
        """The step of the newest checkpoint that lies in `directory` as the run without a crash left it; 0 for none,
        None where nothing is asked of it."""
        if not self.checkpoints or digest_of(directory) == self.finished:
            return None
        present = contents_of(self.checkpoints, directory)
        steps = [step for name, step, content in self.complete if present.get(name) == content]
        return max(steps, default=0)


def with_directory(parts: Sequence[str], directory: Path | str) -> list[str]:
    """`parts` with the directory in the place of ``{out}`` and ``{dir}``."""
    return [part.replace("{out}", str(directory)).replace("{dir}", str(directory)) for part in parts]


def contents_of(pattern: str, directory: Path | str) -> dict[str, Contents]:
    """The checkpoints in `directory` that match `pattern`, each with its files, by their name in it."""
    escaped = glob.escape(str(directory))
    (place,) = with_directory((pattern,), escaped)
    if not os.path.isabs(place):
        place = os.path.join(escaped, place)
    found = {}
    for path in map(Path, glob.glob(place)):
        files = {"": path} if path.is_file() else {
            str(file.relative_to(path)): file for file in path.rglob("*") if file.is_file()
        }  # fmt: skip
        found[os.path.relpath(path, directory)] = {name: file.read_bytes() for name, file in files.items()}
    return found


def digest_of(directory: Path) -> str:
    """What lies in `directory`, as a checksum."""
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(directory.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        total.update(f"{path.relative_to(directory)}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        total.update(content)
    return total.hexdigest()


def digest_of_tree(tree: dict[str, bytes | str | None], directory: str) -> str:
    """As `digest_of`, of a tree that is not on any disk."""
    total = hashlib.blake2b(digest_size=16)
    names = [name for name in tree if name.startswith(f"{directory}/")]
    for name in sorted(names, key=lambda name: name.split("/")):
        found = tree[name]
        content = found if isinstance(found, bytes) else b""
        total.update(f"{name[len(directory) + 1 :]}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        total.update(content)
    return total.hexdigest()


def _lies_in(tree: dict[str, bytes | str | None], name: str, content: Contents) -> bool:
    if "" in content:
        return tree.get(name) == content[""]
    start = len(name) + 1
    files = {path[start:]: found for path, found in tree.items() if path.startswith(f"{name}/")}
    return tree.get(name, b"") is None and {p: f for p, f in files.items() if f is not None} == content


def step_of(name: str) -> int | None:
    """The last number in the name of a checkpoint."""
    numbers = re.findall(r"\d+", os.path.basename(name))
    return int(numbers[-1]) if numbers else None


def _detach(directory: Path) -> None:
    """Give every file a content of its own: they are links to what other states have, too."""
    for path in list(directory.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_nlink > 1:
            copy = path.with_name(
                f".faultkit-{secrets.token_hex(8)}"
            )  # its own name may have all that one can have
            shutil.copyfile(path, copy)
            os.replace(copy, path)


def _groups(pattern: str, output: str) -> list[tuple[str, ...]]:
    return [match.groups() or (match.group(0),) for match in re.finditer(pattern, output)]


def _how(status: int, output: str) -> str:
    ended = f"exit status {status}" if status > 0 else f"signal {-status}"
    lines = [line for line in output.splitlines() if line.strip()]
    last = lines[-1].strip()[:LINE_CHARACTERS] if lines else ""
    return f"{ended}: {last}" if last else ended
