"""A real Valkey for tests: own port, own directory, dies with the test run."""

import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError

from core.process import end_with_parent
from deploy.embedded_store import find_server, write_config
from tests.support.ports import free_port

START_SECONDS = 60.0
POLL_SECONDS = 0.01


class Valkey:
    """One server; `kill` and `start` again keep what the append-only file has."""

    def __init__(self, directory: Path, options: tuple[str, ...] = ()) -> None:
        self.directory = directory
        self._options = options  # they win over the settings of the file
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL without a database number, for `[vfolder.redis] url`."""
        return f"redis://:{quote(self.password, safe='')}@127.0.0.1:{self.port}"

    def client(self, database: int = 0) -> Redis:
        """A new client; the caller closes it."""
        return Redis.from_url(f"{self.url}/{database}", decode_responses=True)

    def start(self) -> None:
        """Start the server on the same port and data, and wait until it answers."""
        config = write_config(self.directory, self.port, self.password)
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [find_server(), config, *self._options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(),  # noqa: PLW1509 - a prctl between fork and exec
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        with self.client() as client:
            while not self._answers(client):
                assert self.process is not None
                assert self.process.poll() is None, (self.directory / "log").read_text()
                assert time.monotonic() < deadline, "Valkey does not answer"
                time.sleep(POLL_SECONDS)

    @staticmethod
    def _answers(client: Redis) -> bool:
        try:
            return bool(client.ping())
        except RedisError:
            return False

    def kill(self) -> None:
        """End it like a crash (SIGKILL)."""
        self._end(hard=True)

    def stop(self) -> None:
        """End it by SIGTERM."""
        self._end(hard=False)

    def restart(self, *, hard: bool = True) -> None:
        """End it and start it again; `hard` is a crash."""
        self._end(hard=hard)
        self.start()

    def _end(self, *, hard: bool) -> None:
        if self.process is None:
            return
        self.process.kill() if hard else self.process.terminate()
        self.process.wait(timeout=START_SECONDS)
        self.process = None


@contextmanager
def running_valkey(directory: Path, *options: str) -> Iterator[Valkey]:
    """A running server; it and its directory are removed at the end."""
    server = Valkey(directory, options)
    server.start()
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)
