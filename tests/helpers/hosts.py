"""Hosts on one machine: namespaces joined by a bridge, which end with whoever started them.

Guarantees: each host has its own network, hostname, `/tmp` and process tree; what is started on it ends with it.
Nothing has a name outside: namespaces, links and rules go with the last process in them, also when the one that
started them gets SIGKILL (PR_SET_PDEATHSIG, so they end with the thread that made them). Address of host I: 10.77.0.I,
counted from 1, known to all as nodeI; the directory that all share is `/mnt` on each.
Not covered: files elsewhere (the hosts see those of this machine); clocks, CPU and memory, which they share.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TOOLS = ("unshare", "nsenter", "setpriv", "ip", "nft", "mount", "hostname")
SECONDS = 60.0
_HUB = "ip link set lo up && ip link add hub type bridge && ip link set hub up && echo ready && exec cat"
_HOST = (
    'hostname "$0" && mount --bind "$1" /mnt && mount -t tmpfs tmpfs /tmp && ip link set lo up && '
    'printf "$2" > /tmp/names && mount --bind /tmp/names /etc/hosts && rm /tmp/names && echo ready && exec cat'
)


def reason() -> str:
    """Why there can be no hosts here; empty where there can."""
    if os.geteuid() != 0:
        return "hosts are namespaces, and these need root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"hosts are made with {', '.join(missing)}, not found here"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link", "add", "hub", "type", "bridge"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return "" if tried.returncode == 0 else f"hosts cannot be made here: {tried.stderr.strip()}"


class Hosts:
    """So many hosts, for the length of a `with`."""

    def __init__(self, size: int, shared: Path) -> None:
        self._shared = shared
        self._size = size
        nodes = [f"10.77.0.{number} node{number}\\n" for number in range(1, size + 1)]
        self._names = "".join(["127.0.0.1 localhost\\n", *nodes])
        self.hosts: list[Host] = []
        self._hub: subprocess.Popen[str] | None = None

    def __enter__(self) -> Hosts:
        try:
            self._hub = _start(_HUB, "hub", str(self._shared))
            for number in range(1, self._size + 1):
                self.hosts.append(self._join(number))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for holder in [*(host.holder for host in self.hosts), *([self._hub] if self._hub else [])]:
            _end(holder)

    def __getitem__(self, index: int) -> Host:
        return self.hosts[index]

    def _join(self, number: int) -> Host:
        assert self._hub is not None
        host = Host(
            f"node{number}",
            f"10.77.0.{number}",
            _start(_HOST, f"node{number}", str(self._shared), self._names),
        )
        try:
            link = f"ip link add v{number} type veth peer name eth0 netns {host.holder.pid}"
            _checked(
                _inside(self._hub.pid, "net"), ["sh", "-c", f"{link} && ip link set v{number} master hub up"]
            )
            host.run("sh", "-c", f"ip addr add {host.address}/24 dev eth0 && ip link set eth0 up")
        except BaseException:
            _end(host.holder)
            raise
        return host


@dataclass(frozen=True)
class Host:
    """One host: its name, its address, and the process that holds its namespaces."""

    name: str
    address: str
    holder: subprocess.Popen[str]

    def start(self, *command: str, output: IO[str] | int | None = None) -> subprocess.Popen[str]:
        """Start `command` on the host; it ends with the host."""
        return subprocess.Popen(
            [*_inside(self.holder.pid, "net", "uts", "mount", "pid"), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            text=True,
        )

    def run(self, *command: str) -> str:
        """What `command` prints on the host; it must end with 0, in time."""
        return _checked(_inside(self.holder.pid, "net", "uts", "mount", "pid"), command)

    def cut(self, other: Host, *, ways: Sequence[str] = ("input", "output")) -> None:
        """Drop what comes from `other` ("input"), what goes to it ("output"), or both: half open is one of them."""
        end = {"input": "saddr", "output": "daddr"}
        for way in ways:
            self.run("nft", "add table inet cut")
            self.run("nft", f"add chain inet cut {way} {{ type filter hook {way} priority 0; }}")
            self.run("nft", f"add rule inet cut {way} ip {end[way]} {other.address} drop")

    def heal(self) -> None:
        """Let everything pass again."""
        self.run("nft", "delete table inet cut")

    def gone(self) -> None:
        """The host goes at once, with all that runs on it and without a word to anyone."""
        _end(self.holder)


def _start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that holds new namespaces and has said that they are ready."""
    spaces = ["--net", "--uts", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
    holder = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, "sh", "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != "ready\n":  # the end of the file where it failed: its message is on stderr
        _end(holder)
        raise RuntimeError(f"host {arguments[0]} did not start; see its message above")
    return holder


def _inside(pid: int, *spaces: str) -> list[str]:
    files = {"net": "net", "uts": "uts", "mount": "mnt", "pid": "pid_for_children"}
    return ["nsenter", *(f"--{space}=/proc/{pid}/ns/{files[space]}" for space in spaces), "--"]


def _checked(prefix: Sequence[str], command: Sequence[str]) -> str:
    done = subprocess.run(
        [*prefix, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def _end(holder: subprocess.Popen[str]) -> None:
    """End the holder: its child, the first process of the host, gets SIGKILL for that, and so all others of it."""
    holder.kill()
    holder.wait(SECONDS)
    for pipe in (holder.stdin, holder.stdout):
        if pipe is not None:
            pipe.close()
