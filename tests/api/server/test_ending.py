"""A door that gets SIGTERM: every process of it hears that, and no caller waits for it."""

import signal
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.doors import AUTH, running_door, settings_in
from tests.support.node import wait_for
from tests.support.thoroughness import times
from tests.support.valkey import Valkey

#: Longer than the tests wait: a process that did not hear the signal fails them.
GRACE = "[vfolder.doors]\nprocesses = 4\ngrace-seconds = 600"

BODY = b'{"volume": "nowhere", "vfid": "x"}'
HEAD = (
    "POST /folder/create HTTP/1.1",
    "Host: x",
    *(f"{name}: {value}" for name, value in AUTH.items()),
    "Content-Type: application/json",
    f"Content-Length: {len(BODY)}",
    "Expect: 100-continue",
)


@pytest.mark.parametrize("_number", range(times(3, 20)))
def test_a_signal_that_comes_while_processes_start_ends_them_all(
    tmp_path: Path, valkey: Valkey, _number: int
) -> None:
    with running_door("manager", settings_in(tmp_path, valkey.url, GRACE)) as door:
        door.process.send_signal(signal.SIGTERM)  # the first process answers, the last one forks
        assert door.process.wait(timeout=120) == 0


def test_new_connections_are_refused_while_a_request_ends(tmp_path: Path, valkey: Valkey) -> None:
    settings = settings_in(tmp_path, valkey.url, GRACE)
    with running_door("manager", settings) as door:
        address = urlsplit(door.url)
        assert address.hostname is not None
        assert address.port is not None
        where = (address.hostname, address.port)

        def refused() -> bool:
            try:
                socket.create_connection(where, timeout=60).close()
            except ConnectionRefusedError:
                return True
            return False

        with socket.create_connection(where, timeout=60) as running:
            running.sendall("\r\n".join((*HEAD, "", "")).encode())
            assert running.recv(100).startswith(b"HTTP/1.1 100")  # a thread waits for the body
            door.process.send_signal(signal.SIGTERM)
            wait_for(refused)
            running.sendall(BODY)
            assert running.recv(100).startswith(b"HTTP/1.1 4")
        assert door.process.wait(timeout=120) == 0
