"""Several hosts on one machine: network namespaces joined by a bridge (ip-netns(8)).

Their packets never reach the network of the machine; 198.18.0.0/24 is the range for benchmarks.
"""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
HUB_ADDRESS = "198.18.0.1"
_LIBC = ctypes.CDLL(None, use_errno=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def enter(name: str) -> None:
    """Bring the calling thread, or a process of one thread, to a host."""
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        assert _LIBC.setns(descriptor, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(descriptor)


class Host:
    """One namespace: `command` starts a program in it, `run` calls a function inside it."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._inside = ThreadPoolExecutor(2, initializer=enter, initargs=(name,))

    def run(self, act: Callable[[], T]) -> T:
        """Call a function on a thread of this host; two calls may run at once."""
        return self.begin(act).result()

    def begin(self, act: Callable[[], T]) -> "Future[T]":
        """As `run`, without waiting."""
        return self._inside.submit(act)

    def command(self, *words: str) -> list[str]:
        """The command line that runs a program here."""
        return ["ip", "netns", "exec", self.name, *words]

    def close(self) -> None:
        """End the thread, remove the namespace."""
        self._inside.shutdown()
        _ip("netns", "del", self.name)


class Hosts:
    """The hub, where the store runs, and the nodes, numbered from 1."""

    def __init__(self, hub: Host, nodes: list[Host]) -> None:
        self.hub = hub
        self.nodes = nodes

    def cut(self, number: int) -> None:
        """Unplug the cable: packets in both directions are lost."""
        _ip("-n", self.hub.name, "link", "set", f"v{number}", "down")

    def mend(self, number: int) -> None:
        """Plug the cable in again."""
        _ip("-n", self.hub.name, "link", "set", f"v{number}", "up")


@contextmanager
def hosts(count: int) -> Iterator[Hosts]:
    """A hub and a number of nodes until the end of the block; its processes must have ended."""
    prefix = f"vf{os.getpid()}"
    hub = f"{prefix}-hub"
    made: list[Host] = []
    _ip("netns", "add", hub)
    made.append(Host(hub, HUB_ADDRESS))
    try:
        _ip("-n", hub, "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", hub, "addr", "add", f"{HUB_ADDRESS}/24", "dev", "br0")
        _ip("-n", hub, "link", "set", "br0", "up")
        made.extend(_node(hub, f"{prefix}-h{number}", number) for number in range(1, count + 1))
        yield Hosts(made[0], made[1:])
    finally:
        for host in reversed(made):
            host.close()


def _node(hub: str, name: str, number: int) -> Host:
    address = f"198.18.0.{10 + number}"
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")
    peer = ["peer", "name", f"v{number}", "netns", hub]
    _ip("-n", name, "link", "add", "eth0", "type", "veth", *peer)
    _ip("-n", hub, "link", "set", f"v{number}", "master", "br0", "up")
    _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
    _ip("-n", name, "link", "set", "eth0", "up")
    return Host(name, address)
