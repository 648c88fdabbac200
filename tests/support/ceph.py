"""A real Ceph for a test run."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

SCRIPT = Path(__file__).with_name("ceph.sh")
#: Ports that one cluster takes, from the first on.
PORTS = 41


def free_ports() -> int:
    """The first of a stretch of ports that nobody listens on, below those clients get."""
    for first in range(16700, 32000, PORTS):
        try:
            for port in range(first, first + PORTS):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no stretch of free ports")


@contextmanager
def running_ceph() -> Iterator[Path]:
    """Its directory: `mnt` is CephFS, `ceph.conf` and `keyring` are an administrator's."""
    directory = Path(mkdtemp(prefix="ceph.", dir="/tmp"))
    try:
        up = [SCRIPT, "up", directory, str(free_ports())]
        done = subprocess.run(up, capture_output=True, text=True, check=False, timeout=170)
        assert done.returncode == 0, done.stdout + done.stderr
        yield directory
    finally:
        subprocess.run([SCRIPT, "down", directory], check=True, timeout=60)
        shutil.rmtree(directory)
