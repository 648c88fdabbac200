"""A real Ceph for a test run."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from tests.support import ports

SCRIPT = Path(__file__).with_name("ceph.sh")
#: Number of ports of one cluster.
PORTS = 41
#: Which of them the S3 gateway has.
GATEWAY_PORT = 2


def free_ports() -> tuple[int, socket.socket]:
    """Return the first of a range of free ports, and our claim to the range."""
    for first in range(16700, ports.FIRST - PORTS, PORTS):
        claim = ports.claimed(f"ceph-{first}")
        if claim is None:
            continue
        if all(map(ports.is_free, range(first, first + PORTS))):
            return first, claim
        claim.close()
    raise RuntimeError("no stretch of free ports")


def start_gateway(directory: Path, access_key: str, secret_key: str) -> str:
    """Start the S3 gateway of a cluster that runs, and return its URL; it ends with the cluster."""
    found = re.search(r"v2:127\.0\.0\.1:(\d+)", (directory / "ceph.conf").read_text())
    assert found
    first = int(found[1])
    command = [SCRIPT, "rgw", directory, str(first), access_key, secret_key]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return f"http://127.0.0.1:{first + GATEWAY_PORT}"


@contextmanager
def running_ceph() -> Iterator[Path]:
    """Its directory: `mnt` is CephFS; `ceph.conf` and `keyring` are for administrators."""
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
