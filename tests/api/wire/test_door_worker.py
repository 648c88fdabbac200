"""The doors' worker: a busy connection starves no other one, and ends with the door."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.doors import AUTH, RunningDoor, running_door, settings_in
from tests.support.thoroughness import times
from tests.support.valkey import Valkey

CALLERS = 24
REQUESTS = times(8, 60)


def test_more_busy_connections_than_threads(tmp_path: Path, valkey: Valkey) -> None:
    more = "[vfolder.doors]\nprocesses = 1\nthreads = 4"
    served: list[int] = []

    def keep_asking() -> None:
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(REQUESTS):
                session.get(f"{door.url}/volumes", headers=AUTH, timeout=120).raise_for_status()
        served.append(1)

    with running_door("manager", settings_in(tmp_path, valkey.url, more)) as door:
        threads = [threading.Thread(target=keep_asking) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(served) == CALLERS


def test_an_open_connection_does_not_delay_the_end(tmp_path: Path, valkey: Valkey) -> None:
    with running_door("manager", settings_in(tmp_path, valkey.url)) as door:
        assert door.send("GET", "/volumes").status_code == 200
        door.process.send_signal(signal.SIGTERM)
        assert door.process.wait(timeout=120) == 0


def pieces(size: int) -> Iterator[bytes]:
    """A body without a length."""
    for _ in range(size // 65536):
        yield b" " * 65536


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "known", "status"), [("/folder/metadata", True, 413), ("/nowhere", False, 403)]
)
def test_an_answer_before_the_body_was_read_says_that_the_connection_ends(
    manager: RunningDoor, path: str, status: int, *, known: bool, chunked: bool
) -> None:
    size = 20 * 1024 * 1024
    headers = AUTH if known else {}
    with requests.Session() as session:
        session.trust_env = False
        for _ in range(3):
            body = pieces(size) if chunked else b" " * size
            refused = session.post(manager.url + path, data=body, headers=headers, timeout=60)
            assert refused.status_code == status
            assert refused.headers["Connection"] == "close"
            then = session.get(f"{manager.url}/volumes", headers=AUTH, timeout=60)
            assert then.headers["Connection"] == "keep-alive"
