"""Trees as files: each content is written once, each state is made of links to it.

Nothing is made outside of the directory given, whatever a tree says: `require_inside` refuses names that are absolute,
go up, or go through a link or a file of the tree, and `write_tree` goes through no link that is there already.  What a
link leads to is not asked, since nothing is written through it.

The place is a directory in memory (/dev/shm) where there is room, else the system's temporary directory; it is
handed to the fork server, which removes it should this process not come to it.  A load that writes to a file
it was given would damage what other states share: then the content is written anew (`Objects.mend`), and that
load is never answered for another state.  Not covered: permissions and times.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faultkit.messages import seen

__all__ = ["Objects", "Place", "link_tree", "require_inside", "write_tree"]

NAME_LENGTH_MAX = 4096  # no system has longer ones
Listing = list[
    tuple[str, str, str]
]  # path, "file" | "directory" | "link", name of the object or text of the link


def require_inside(tree: Mapping[str, object]) -> None:
    """Raise ValueError where a name of `tree` leads out of the directory in which it is made.

    `tree` has None for each directory; what is not in it counts as one where something lies beneath.
    """
    for path in tree:
        parts = path.split("/") if len(path) <= NAME_LENGTH_MAX else [""]
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in path:
            raise ValueError(
                f"a name in a tree must be a plain path beneath its directory (got {seen(path)})"
            )
        for place in range(1, len(parts)):
            above = "/".join(parts[:place])
            if tree.get(above) is not None:
                raise ValueError(
                    f"a name in a tree must lie in directories alone (got {seen(path)}, and {seen(above)} is none)"
                )


def write_tree(tree: Mapping[str, bytes | str | None], directory: Path) -> None:
    """Make `tree` in `directory` as plain files.

    Raises ValueError for a name that leads out of it, before anything is made, and FileExistsError where a file or a
    link is in the way.
    """
    require_inside(tree)
    directory.mkdir(parents=True, exist_ok=True)
    made = {""}
    for path, content in tree.items():
        parts = path.split("/")
        for place in range(1, len(parts) + (content is None)):
            _make_directory(directory, "/".join(parts[:place]), made)
        target = directory / path
        if isinstance(content, str):
            target.symlink_to(content)
        elif content is not None:
            with open(target, "xb") as stream:
                stream.write(content)


def _make_directory(directory: Path, path: str, made: set[str]) -> None:
    if path in made:
        return
    made.add(path)
    target = directory / path
    # not through a link, which may lead anywhere
    target.mkdir(exist_ok=not target.is_symlink())


def link_tree(listing: Listing, objects: str, directory: str) -> None:
    """Make a tree of links to `objects` in `directory`, which is new.  Raises ValueError as `write_tree` does."""
    require_inside({path: None if kind == "directory" else kind for path, kind, _ in listing})
    os.mkdir(directory)
    for path, kind, name in listing:
        target = f"{directory}/{path}"
        if kind == "directory":
            os.mkdir(target)
        elif kind == "link":
            os.symlink(name, target)
        else:
            os.link(f"{objects}/{name}", target)


class Objects:
    """Contents as files, each written when it is first needed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._names: dict[int, str] = {}
        self._kept: dict[str, bytes] = {}

    def listing(self, tree: dict[str, bytes | str | None]) -> Listing:
        """`tree` as what `link_tree` makes, parents first; its contents are there as objects."""
        found: Listing = []
        for path, content in sorted(tree.items()):
            if content is None:
                found.append((path, "directory", ""))
            elif isinstance(content, str):
                found.append((path, "link", content))
            else:
                found.append((path, "file", self._name(content)))
        return found

    def mend(self) -> None:
        """Write anew every content that a load has changed."""
        for name, content in self._kept.items():
            path = self.directory / name
            if path.stat().st_size != len(content) or path.read_bytes() != content:
                path.unlink()
                path.write_bytes(content)

    def _name(self, content: bytes) -> str:
        name = self._names.get(id(content))
        if name is None:
            name = self._names[id(content)] = str(len(self._names))
            self._kept[name] = content
            (self.directory / name).write_bytes(content)
        return name


class Place:
    """A directory of one's own that goes when this ends, or when this process does.  A context manager."""

    def __init__(self) -> None:
        self.path = Path()
        self._directory: Any = None

    def __enter__(self) -> Place:
        from faultkit.processes.directories import OwnedDirectory, in_memory

        self._directory = OwnedDirectory("faultkit-crash-", in_memory())
        self.path = self._directory.path
        return self

    def __exit__(self, *_: object) -> None:
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.close()
