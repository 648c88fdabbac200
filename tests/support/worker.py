"""A node's real worker for tests, beside a door that runs by itself."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core.cluster import NodeStore
from core.redis import Database, connect
from core.settings import CONFIG_VARIABLE, Settings
from tests.support import preloaded
from tests.support.node import wait_for

STOP_SECONDS = 120.0


@contextmanager
def running_worker(
    settings: Settings, volume: str = "local", before: Sequence[str] = ()
) -> Iterator[int]:
    """A worker that serves a volume, started through `before`; gives its process id.

    It is drained at the end of the block.
    """
    log_path = settings.directory / "worker.log"
    with log_path.open("ab") as log:
        process = preloaded.start(
            "worker",
            ["workers.serve", "worker"],
            output=log,
            environment=os.environ | {CONFIG_VARIABLE: settings.origin},
            death_signal=signal.SIGTERM,
            before=before,
        )
    with connect(settings, Database.JOBS) as client:
        book = NodeStore(client)

        def serves() -> bool:
            assert process.poll() is None, log_path.read_text()
            return bool(book.serving(volume))

        try:
            wait_for(serves, 120, f"see {log_path}")
            yield process.pid
        finally:
            process.terminate()
            process.wait(timeout=STOP_SECONDS)
