"""A file system that fails on purpose: it passes calls to a directory, except by its rules.

Rules are written as JSON to the file `.faultfs` in the mount (see `rules`). Each names an
operation and a path by patterns, and what happens: `errno` (a name), `after` (calls let through
first), `count` (how often it happens), `space` (bytes that may still be written), `short` (bytes
at most per read or write), `corrupt` (the first byte read is flipped), `delay` (seconds).
The server is `faultfs_server.py`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONTROL = ".faultfs"
SERVER = Path(__file__).with_name("faultfs_server.py")
START_SECONDS = 60.0


def rules(mount: Path, *wanted: dict[str, Any]) -> None:
    """Replace the rules of a mount; without rules it works."""
    (mount / CONTROL).write_text(json.dumps(wanted))


@contextmanager
def mounted(backing: Path, mount: Path) -> Iterator[Path]:
    """Mount `backing` at `mount` as a file system with rules."""
    backing.mkdir(exist_ok=True)
    mount.mkdir()
    with subprocess.Popen([sys.executable, SERVER, backing, mount]) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not os.path.ismount(mount):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("faultfs did not start")
                time.sleep(0.01)
            yield mount
        finally:
            subprocess.run(["umount", "-l", mount], check=False)
            process.terminate()
