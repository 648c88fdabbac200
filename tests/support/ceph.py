"""A real Ceph for a test run."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from tests.support import ports

SCRIPT = Path(__file__).with_name("ceph.sh")
#: Ports that one cluster takes, from the first on.
PORTS = 41


def free_ports() -> tuple[int, socket.socket]:
    """The first of a stretch of ports that nobody listens on, and our claim to the stretch."""
    for first in range(16700, ports.FIRST - PORTS, PORTS):
        claim = ports.claimed(f"ceph-{first}")
        if claim is None:
            continue
        if all(map(ports.is_free, range(first, first + PORTS))):
            return first, claim
        claim.close()
    raise RuntimeError("no stretch of free ports")


@contextmanager
def running_ceph() -> Iterator[Path]:
    """Its directory: `mnt` is CephFS, `ceph.conf` and `keyring` are an administrator's."""
    directory = Path(mkdtemp(prefix="ceph.", dir="/tmp"))
    first, claim = free_ports()
    with claim:
        try:
            up = [SCRIPT, "up", directory, str(first)]
            done = subprocess.run(up, capture_output=True, text=True, check=False, timeout=500)
            assert done.returncode == 0, done.stdout + done.stderr
            yield directory
        finally:
            subprocess.run([SCRIPT, "down", directory], check=True, timeout=120)
            shutil.rmtree(directory)
