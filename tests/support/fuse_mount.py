"""A process of tests that serves a FUSE file system, and the mount that it serves."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.process import end_with_parent
from tests.support.node import ROOT, wait_for

START_SECONDS = 60.0
ANSWER_SECONDS = 60.0


class FuseMount:
    """A module that runs as a process until unmounted, and a socket by which it is asked.

    The arguments of the module are the given ones, the mount and the socket.
    """

    def __init__(self, directory: Path, module: str, *given: Path) -> None:
        self.path = directory / "mount"
        self.path.mkdir()
        self._control = directory / "c"
        self._log = directory / "log"
        self._command = [sys.executable, "-m", module, *given, self.path, self._control]
        self._process = self._started()
        wait_for(self._mounted, START_SECONDS, failure=f"see {self._log}")

    def _started(self) -> "subprocess.Popen[bytes]":
        with self._log.open("wb") as log:
            return subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=os.environ | {"FUSE_LIBRARY_PATH": "libfuse3.so.3"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - a prctl between fork and exec
            )

    @contextmanager
    def disconnected(self) -> Iterator[None]:
        """Kill the process, and mount it again after the block.

        Calls under way fail with ECONNABORTED; what is open stays disconnected (ENOTCONN).
        """
        self._process.kill()
        self._process.wait(60)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", self.path], check=True)
            self._control.unlink()
            self._process = self._started()
            wait_for(self._mounted, START_SECONDS, failure=f"see {self._log}")

    def _mounted(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        return os.path.ismount(self.path) and self._control.exists()

    def connected(self) -> socket.socket:
        """Return a connection to the process."""
        asking = socket.socket(socket.AF_UNIX)
        asking.settimeout(ANSWER_SECONDS)
        asking.connect(str(self._control))
        return asking

    def close(self) -> None:
        """Unmount."""
        subprocess.run(["umount", "--lazy", self.path], check=True)
        self._process.kill()
        self._process.wait(60)


def pass_modes(create: Any) -> Any:
    """Return an operation `create` whose parameters the library can count: it requires that."""

    def counted(self: object, path: str, mode: int) -> Any:
        return create(self, path, mode)

    return counted
