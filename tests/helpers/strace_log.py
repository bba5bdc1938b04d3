"""Reads a log of strace into the same short form as a recording, so that the two can be compared op by op.

A form is (kind, path, target, detail): names relative to the root, detail the bytes of a write, the flags of an
open, the size of a truncate, and where the call failed, the errno's name instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from tests.helpers.stuck import SECONDS_MAX

CALLS = (
    "open,openat,creat,close,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,ftruncate,truncate,"
    "fallocate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,"
    "mkdir,mkdirat,dup2,dup3,fcntl"
)
LINE = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<rest>.*)$")
UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")


def strace_command(log):
    return [
        "strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000", "-qq", "-e", "signal=none",
        "-e", f"trace={CALLS}", "-o", str(log),
    ]  # fmt: skip


def why_strace_cannot_run(folder):
    """ "" where it can, else the reason in words."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    log = folder / "trial"
    tried = subprocess.run(
        [*strace_command(log), "true"], capture_output=True, text=True, timeout=SECONDS_MAX
    )
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


def unescaped(text):
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())


def whole_lines(log):
    """The lines of the log; a call that another thread's interrupted is put together again, at its start."""
    lines, open_lines = [], {}
    for line in log.read_text().splitlines():
        if unfinished := UNFINISHED.match(line):
            open_lines[unfinished[1]] = len(lines)
            lines.append(line[: -len(" <unfinished ...>")])
        elif resumed := RESUMED.match(line):
            lines[open_lines.pop(resumed[1])] += resumed[2]
        else:
            lines.append(line)
    return lines


def arguments_of(text):
    """The arguments, split at commas outside of brackets and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for place, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in "[{(<":
            depth += 1
        elif not quoted and letter in "]})>":
            depth -= 1
        elif not quoted and not depth and letter == ",":
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]


class Reader:
    def __init__(self, root):
        self.root = str(root)
        self.own = (
            set()
        )  # descriptors with which the library reads back what stdio wrote, and those of opendir

    def name(self, path, directory=None):
        if directory is not None and not path.startswith("/"):
            path = f"{directory}/{path}"
        path = os.path.normpath(path)
        if path == self.root:
            return ""
        return path[len(self.root) + 1 :] if path.startswith(f"{self.root}/") else None

    def opened(self, argument):
        """The path that -y shows for a descriptor."""
        found = re.match(r"^(?:\d+|AT_FDCWD)<(.*)>(?:\(deleted\))?$", argument)
        return unescaped(found[1]).decode().removesuffix(" (deleted)") if found else None

    def text(self, argument):
        return unescaped(argument.strip().strip('"')).decode()

    def data(self, name, arguments):
        if name in ("write", "pwrite64"):
            return unescaped(arguments[1].strip('"'))
        return b"".join(unescaped(one) for one in re.findall(r'iov_base="([^"]*)"', arguments[1]))

    def forms(self, log):
        """The forms of each thread, by its number in the system."""
        found = {}
        for line in whole_lines(log):
            parsed = LINE.match(line)
            if parsed and (form := self.form(parsed)) is not None:
                found.setdefault(parsed["pid"], []).append(form)
        return found

    def form(self, parsed):
        name, arguments = parsed["name"], arguments_of(parsed["arguments"])
        failure = re.match(r" (E\w+)", parsed["rest"])
        error = failure[1] if failure else None
        at = [self.opened(one) for one in arguments]
        match name:
            case "open" | "openat" | "creat":
                if name == "openat":
                    path, words = self.name(self.text(arguments[1]), at[0]), arguments[2]
                else:
                    path = self.name(self.text(arguments[0]), os.path.realpath(self.root))
                    words = arguments[1] if name == "open" else "O_WRONLY|O_CREAT|O_TRUNC"
                flags = sum(getattr(os, flag, 0) for flag in re.findall(r"O_\w+", words))
                if name == "openat" and self.text(arguments[1]).startswith("/proc/self/fd/"):
                    self.own.add(parsed["result"])
                if path is None or (flags & os.O_NONBLOCK and flags & os.O_DIRECTORY):  # of opendir
                    return None
                return "open", path, "", error or flags & ~os.O_CLOEXEC
            case "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2":
                data = self.data(name, arguments)[: max(int(parsed["result"]), 0)]
                return self.on_descriptor("write", at[0], error or data)
            case "sendfile" | "copy_file_range":
                goal = at[0] if name == "sendfile" else at[2]
                count = int(parsed["result"])
                return self.on_descriptor("write", goal, error or count) if count else None
            case "ftruncate":
                return self.on_descriptor("truncate", at[0], error or int(arguments[1]))
            case "fallocate":
                return self.on_descriptor("truncate", at[0], error or int(arguments[2]) + int(arguments[3]))
            case "fcntl":
                directory = self.name(at[0] or "") is not None and not os.path.isfile(at[0])
                if directory and "F_DUPFD" in arguments[1]:  # as scandir of a descriptor does, for opendir
                    self.own.add(parsed["result"].partition("<")[0])
                return None
            case "close" if (descriptor := arguments[0].partition("<")[0]) in self.own:
                self.own.remove(descriptor)
                return None
            case "close":
                return self.on_descriptor("close", at[0], error or "")
            case "dup2" | "dup3":
                is_same = arguments[0] == arguments[1]
                return None if is_same else self.on_descriptor("close", at[1], error or "")
            case "fsync" | "fdatasync":
                is_directory = at[0] is not None and self.name(at[0]) is not None and os.path.isdir(at[0])
                return self.on_descriptor("fsync_directory" if is_directory else name, at[0], error or "")
            case "truncate":
                path = self.name(self.text(arguments[0]), os.path.realpath(self.root))
                return None if path is None else ("truncate", path, "", error or int(arguments[1]))
        return self.on_names(name, arguments, at, error or "")

    def on_descriptor(self, kind, path, detail):
        relative = self.name(path) if path is not None and path.startswith("/") else None
        return None if relative is None else (kind, relative, "", detail)

    def on_names(self, name, arguments, at, error):
        here = os.path.realpath(self.root)
        match name:
            case "rename" | "link":
                source, goal = (self.name(self.text(one), here) for one in arguments[:2])
            case "renameat" | "renameat2" | "linkat":
                source = self.name(self.text(arguments[1]), at[0])
                goal = self.name(self.text(arguments[3]), at[2])
                name = name[:6] if name.startswith("rename") else "link"
            case "symlink":
                source, goal = self.name(self.text(arguments[1]), here), self.text(arguments[0])
            case "symlinkat":
                source, goal = self.name(self.text(arguments[2]), at[1]), self.text(arguments[0])
                name = "symlink"
            case "unlinkat":
                source, goal = self.name(self.text(arguments[1]), at[0]), ""
                name = "rmdir" if "AT_REMOVEDIR" in arguments[2] else "unlink"
            case "mkdirat":
                source, goal, name = self.name(self.text(arguments[1]), at[0]), "", "mkdir"
            case _:
                source, goal = self.name(self.text(arguments[0]), here), ""
        return None if source is None else (name, source, goal, error)
