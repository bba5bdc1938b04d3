"""A process that makes hosts and works on them until it is killed; its argument is the directory they share.

It says "made" and waits; whoever started it kills it, then or before.
"""

import sys
from pathlib import Path

from tests.helpers.hosts import Hosts

if __name__ == "__main__":
    with Hosts(2, Path(sys.argv[1])) as hosts:
        hosts[0].cut(hosts[1])
        for host in hosts.hosts:
            host.start("sh", "-c", "setsid sleep 1000 & exec sleep 1000")
        print("made", flush=True)
        sys.stdin.read()
