"""Hosts for tests are apart as hosts are, and nothing of them stays, however their campaign ends."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from tests.helpers.hosts import SECONDS, Hosts, reason
from tests.helpers.places import ROOT

WHY = reason()
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY)

MARK = "FAULTKIT_TEST_HOSTS"
RECEIVE = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
    own.bind(("", 9000))
    own.settimeout({seconds})
    print("ready", flush=True)
    try:
        print(own.recv(10).decode(), flush=True)
    except TimeoutError:
        print("nothing", flush=True)
"""
SEND = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
    try:
        own.sendto(b"hello", ("{address}", 9000))
    except PermissionError:
        pass
"""


@pytest.fixture
def hosts(tmp_path):
    with Hosts(2, tmp_path) as made:
        yield made


def arrives(sender, receiver, seconds):
    """What one datagram from `sender` comes to."""
    waiting = receiver.start(sys.executable, "-c", RECEIVE.format(seconds=seconds), output=subprocess.PIPE)
    with waiting.stdout:
        assert waiting.stdout.readline() == "ready\n"
        sender.run(sys.executable, "-c", SEND.format(address=receiver.address))
        heard = waiting.stdout.readline().strip()
    assert waiting.wait(SECONDS) == 0
    return heard == "hello"


PROCESSES_MIN = 1 + 6 + 4  # the campaign, three holders with their first processes, what runs on the hosts


def with_mark(mark):
    """The processes whose environment has the mark; those that are gone, or not ours to read, left out."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (place / "environ").read_bytes().split(b"\0"):
                found.append((int(place.name), os.readlink(place / "ns" / "net")))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def in_networks(networks):
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(place / "ns" / "net") in networks:
                found.append(int(place.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def wait_until(holds, what):
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, what()


def test_each_host_has_its_own_name_address_tmp_and_processes(hosts, tmp_path):
    (tmp_path / "for all").touch()
    for host, other in (hosts.hosts, hosts.hosts[::-1]):
        assert host.run("hostname") == f"{host.name}\n"
        assert f"{host.address}/24" in (seen := host.run("ip", "-4", "address"))
        assert other.address not in seen
        host.run("touch", f"/tmp/{host.name}")
        assert host.run("ls", "/tmp") == f"{host.name}\n"
        assert host.run("ls", "/mnt") == "for all\n"
        assert host.run("getent", "hosts", other.name).split() == [other.address, other.name]
        assert len(host.run("sh", "-c", "ls -d /proc/[0-9]*").split()) <= 3  # the first, the shell, ls
    assert os.uname().nodename not in {"node1", "node2"}
    assert "10.77.0." not in Path("/etc/hosts").read_text()


def test_a_host_goes_with_all_that_runs_on_it_and_the_other_stays(hosts):
    ones = [host.start("sh", "-c", "setsid sleep 1000 & exec sleep 1000") for host in hosts.hosts]
    hosts[1].gone()
    ones[1].wait(SECONDS)
    assert ones[0].poll() is None
    assert hosts[0].run("hostname") == "node1\n"
    ones[0].kill()
    ones[0].wait(SECONDS)


@pytest.mark.parametrize(
    ("ways", "to_first", "from_first"),
    [
        ((), True, True),
        (("input",), False, True),
        (("output",), True, False),
        (("input", "output"), False, False),
    ],
    ids=["whole", "half-open-in", "half-open-out", "cut"],
)
def test_a_link_is_cut_in_the_direction_that_is_said_and_healed(hosts, ways, to_first, from_first):
    first, second = hosts.hosts
    first.cut(second, ways=ways)
    assert arrives(second, first, SECONDS if to_first else 0.5) is to_first
    assert arrives(first, second, SECONDS if from_first else 0.5) is from_first
    if ways:
        first.heal()
        assert arrives(second, first, SECONDS)
        assert arrives(first, second, SECONDS)


def killed_campaign(shared, after):
    """A campaign killed after so many seconds, or (None) when it has made all; what it had then, and what stays."""
    mark = uuid.uuid4().hex
    campaign = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.hosts_of_a_campaign", str(shared)],
        cwd=ROOT,
        env={**os.environ, MARK: mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with campaign.stdin, campaign.stdout:
        try:
            said = select.select([campaign.stdout], [], [], SECONDS if after is None else after)[0]
            assert not said or campaign.stdout.readline() == b"made\n"
            assert said or after is not None
            if after is None:  # the shells on the hosts have yet to start what they run
                wait_until(lambda: len(with_mark(mark)) >= PROCESSES_MIN, lambda: f"only {with_mark(mark)}")
            had = with_mark(mark)
        finally:
            campaign.kill()
            campaign.wait(SECONDS)
    own = os.readlink("/proc/self/ns/net")
    networks = {network for _, network in had} - {own}
    wait_until(
        lambda: not with_mark(mark) and not in_networks(networks),
        lambda: f"left: {with_mark(mark)}, {in_networks(networks)}",
    )
    return had, networks


def test_nothing_stays_of_hosts_whose_campaign_is_killed(tmp_path):
    links, mounts = sorted(os.listdir("/sys/class/net")), Path("/proc/mounts").read_text()
    had, networks = killed_campaign(tmp_path, None)
    assert len(networks) == 3  # two hosts and what joins them
    assert len(had) >= PROCESSES_MIN
    for _ in range(5):
        killed_campaign(tmp_path, random.uniform(0, 0.6))
    assert sorted(os.listdir("/sys/class/net")) == links
    assert Path("/proc/mounts").read_text() == mounts


@pytest.mark.slow
def test_torchrun_saves_over_two_hosts(hosts, tmp_path):
    logs = [(tmp_path / f"{host.name}.log").open("w+") for host in hosts.hosts]
    agents = [
        host.start(
            *("env", "OMP_NUM_THREADS=1", f"PYTHONPATH={ROOT}"),
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{hosts[0].name}:29400"),
            *("-m", "tests.helpers.saving_over_hosts", "/mnt"),
            output=log,
        )
        for host, log in zip(hosts.hosts, logs, strict=True)
    ]
    ends = [agent.wait(5 * SECONDS) for agent in agents]
    for log in logs:
        log.close()
    assert ends == [0, 0], "\n".join(Path(log.name).read_text() for log in logs)
    assert sorted((tmp_path / f"rank{rank}").read_text() for rank in range(2)) == ["node1", "node2"]
    state = {f"weight{rank}": torch.zeros(8) for rank in range(2)}
    dcp.load(state, checkpoint_id=tmp_path / "saved", no_dist=True)
    assert [state[f"weight{rank}"].tolist() for rank in range(2)] == [[0.0] * 8, [1.0] * 8]
