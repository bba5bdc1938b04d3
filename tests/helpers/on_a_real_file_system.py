"""Runs a recording on a real file system in an image, cuts the power in between, and prints what is then there.

Run as root in a mount namespace of its own: ``unshare -m python on_a_real_file_system.py KIND RECORDING DIRECTORY``.
After each operation the image is copied as the disk has it (what the file system has not yet written is lost),
once as it is and once after the sync of another file, and the copy is mounted, which replays the journal.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from faultkit.recording import Operation, Recording

IMAGE_BYTES = {"ext4": 16 << 20, "xfs": 320 << 20, "btrfs": 128 << 20}
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-J", "size=1", "-m", "0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
# nothing is written back for its age while the test looks
OPTIONS = {"ext4": "loop,data=ordered,commit=300", "xfs": "loop", "btrfs": "loop,commit=300"}
AFTER_CUT = {"ext4": "loop", "xfs": "loop,nouuid", "btrfs": "loop"}


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextlib.contextmanager
def mounted(image: Path, at: Path, options: str):
    at.mkdir(exist_ok=True)
    run("mount", "-o", options, str(image), str(at))
    try:
        yield
    finally:
        run("umount", str(at))


def tree_of(root: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        found[name] = None if path.is_dir() else base64.b64encode(path.read_bytes()).decode()
    return found


class Player:
    """Does the operations of a recording again, one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.open: dict[tuple[int, int], int] = {}

    def do(self, operation: Operation) -> bool:
        """Whether anything was done that a crash could tell."""
        path = self.root / operation.path
        key = (operation.rank, operation.handle)
        match operation.kind:
            case "open":
                self.open[key] = os.open(path, operation.flags, 0o644)
            case "write":
                os.pwrite(self.open[key], operation.data, operation.offset)
            case "truncate":
                os.truncate(path, operation.offset)
            case "fsync" | "fdatasync":
                getattr(os, operation.kind)(self.open[key])
            case "close":
                os.close(self.open.pop(key))
                return False
            case "rename":
                os.rename(path, self.root / operation.target)
            case "unlink":
                os.unlink(path)
            case "mkdir":
                os.mkdir(path)
            case "fsync_directory":
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
            case _:
                return False
        return True


def main(kind: str, recording_file: str, place: Path) -> None:
    recording = Recording.from_bytes(Path(recording_file).read_bytes())
    image, copy = place / "image", place / "copy"
    with open(image, "wb") as stream:
        stream.truncate(IMAGE_BYTES[kind])
    run(*MAKE[kind], str(image))
    seen: list[dict[str, str | None]] = []
    with mounted(image, place / "disk", OPTIONS[kind]):
        for commits in (False, True):
            for _ in played(recording, place / "disk" / "root"):
                if commits:
                    sync_another(place / "disk" / "another")
                seen.append(cut(kind, image, copy, place))
    print(json.dumps(seen))


def played(recording: Recording, root: Path):
    """Do the recording from its start; yields after each operation that a crash could tell."""
    if root.exists():
        shutil.rmtree(root)
    root.mkdir()
    for name, content in recording.before.items():
        if content is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(content)
    os.sync()
    player = Player(root)
    for operation in recording.operations:
        if not operation.error and player.do(operation):
            yield
    for descriptor in player.open.values():
        os.close(descriptor)


def sync_another(path: Path) -> None:
    """A commit of the journal, with whatever it holds by now."""
    with open(path, "ab") as stream:
        stream.write(b"x")
        stream.flush()
        os.fsync(stream.fileno())


def cut(kind: str, image: Path, copy: Path, place: Path) -> dict[str, str | None]:
    run("cp", "--sparse=always", str(image), str(copy))
    with mounted(copy, place / "after", AFTER_CUT[kind]):
        return tree_of(place / "after" / "root")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
