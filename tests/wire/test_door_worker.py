"""The door's server: connections that keep asking neither starve others nor survive an end."""

import signal
import threading
from pathlib import Path

import requests

from tests.support.doors import AUTH, running_door, settings_in
from tests.support.valkey import Valkey

CALLERS = 24
ASKED = 60


def test_more_busy_connections_than_threads(tmp_path: Path, valkey: Valkey) -> None:
    more = "[vfolder.doors]\nprocesses = 1\nthreads = 4"
    served: list[int] = []

    def keep_asking() -> None:
        with requests.Session() as session:
            session.trust_env = False
            for _ in range(ASKED):
                session.get(f"{door.url}/volumes", headers=AUTH, timeout=60).raise_for_status()
        served.append(1)

    with running_door("manager", settings_in(tmp_path, valkey.url, more)) as door:
        threads = [threading.Thread(target=keep_asking) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(served) == CALLERS


def test_an_end_is_polite_to_open_connections(tmp_path: Path, valkey: Valkey) -> None:
    with running_door("manager", settings_in(tmp_path, valkey.url)) as door:
        assert door.send("GET", "/volumes").status_code == 200
        door.process.send_signal(signal.SIGTERM)
        assert door.process.wait(timeout=30) == 0
