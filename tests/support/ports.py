"""Ports on 127.0.0.1 for tests, so that no two processes of tests are ever given the same.

A probed port may be taken when its server begins to listen: by another test process that probed it
too, or by any connection. The kernel takes the local ports of connections from the same range
(ip(7), ip_local_port_range). So these ports are below that range, and each process takes them from
blocks of its own. A block belongs to the process that has a socket of its name (unix(7), abstract
names), until that process ends.
"""

import itertools
import secrets
import socket

#: Above the ports of Ceph and of our own defaults, below those of connections.
FIRST, BLOCKS, BLOCK_PORTS = 20_000, 48, 250

#: The first port of each of our blocks, and the socket that claims it, open until the end.
_owned: list[tuple[int, int]] = []
_turn = itertools.count()


def free_port() -> int:
    """Return a free port that no other test process gets.

    A port of this process is used again only when there are no more blocks.
    """
    for _ in range(BLOCKS * BLOCK_PORTS):
        number = next(_turn)
        if number >= len(_owned) * BLOCK_PORTS:
            _own_another()
        number %= len(_owned) * BLOCK_PORTS
        port = _owned[number // BLOCK_PORTS][0] + number % BLOCK_PORTS
        if is_free(port):
            return port
    raise RuntimeError("no port is free")


def is_free(port: int) -> bool:
    """Return whether a port of 127.0.0.1 is free now."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def claimed(name: str) -> socket.socket | None:
    """A claim to a name, held until it is closed or its process ends; None when another has it."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0vfolder-tests-{name}")
    except OSError:
        claim.close()
        return None
    return claim


def _own_another() -> None:
    """Take a free block, if there is one."""
    first = secrets.randbelow(BLOCKS)
    for number in range(first, first + BLOCKS):
        start = FIRST + number % BLOCKS * BLOCK_PORTS
        if claim := claimed(f"ports-{start}"):
            _owned.append((start, claim.detach()))
            return
    assert _owned, "other processes of tests have all blocks of ports"
