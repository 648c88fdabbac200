"""kill -9 of the door, again and again, during many uploads: no byte is lost, no file is left."""

import hashlib
import random
import threading
import time

import psutil
import pytest
import requests

from tests.api.client.conftest import ClientDoor, Folder
from tests.support.node import wait_for
from tests.support.thoroughness import times

UPLOADS = times(60, 200)
KILLS = times(3, 5)
PIECE = 128 * 1024
DEADLINE_SECONDS = 400.0
#: A client waits so long before it looks where to resume.
RETRY_SECONDS = 0.2
OCTETS = {"Content-Type": "application/offset+octet-stream", "Tus-Resumable": "1.0.0"}


class Sender(threading.Thread):
    """A client that resumes until its file is there."""

    def __init__(self, url: str, data: bytes, deadline: float) -> None:
        super().__init__(daemon=True)
        self.url, self.data, self.deadline = url, data, deadline
        self.offset = 0
        self.sent_all = self.done = False

    def run(self) -> None:
        while not self.done and time.monotonic() < self.deadline:
            try:
                self._step()
            except requests.RequestException:
                time.sleep(RETRY_SECONDS)
                self._look()

    def _look(self) -> None:
        try:
            answer = requests.head(self.url, headers=OCTETS, timeout=60)
        except requests.RequestException:
            return
        if answer.status_code == 200:
            self.offset = int(answer.headers["Upload-Offset"])
        elif answer.status_code == 404:
            assert self.sent_all, "a session vanished"
            self.done = True

    def _step(self) -> None:
        piece = self.data[self.offset : self.offset + PIECE]
        self.sent_all = self.sent_all or self.offset + len(piece) == len(self.data)
        headers = {**OCTETS, "Upload-Offset": str(self.offset)}
        answer = requests.patch(self.url, data=piece, headers=headers, timeout=60)
        if answer.status_code == 204:
            self.offset = int(answer.headers["Upload-Offset"])
            self.done = self.offset == len(self.data)
        else:
            time.sleep(RETRY_SECONDS)
            self._look()


def kill_all(door: ClientDoor) -> None:
    assert door.process
    parent = psutil.Process(door.process.pid)
    parent.suspend()  # else it would start others, which keep the port
    for process in [parent, *parent.children(recursive=True)]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    door.process.wait(120)


@pytest.mark.slow
def test_many_uploads_survive_kills(door: ClientDoor, folder: Folder) -> None:
    seeded = random.Random(6)
    sources = [seeded.randbytes(seeded.randrange(PIECE, 12 * PIECE)) for _ in range(UPLOADS)]
    deadline = time.monotonic() + DEADLINE_SECONDS
    senders = [
        Sender(folder.upload(f"f{number}", len(data)), data, deadline)
        for number, data in enumerate(sources)
    ]
    for sender in senders:
        sender.start()
    total = sum(len(data) for data in sources)
    for share in sorted(seeded.uniform(0.02, 0.8) for _ in range(KILLS)):
        wait_for(lambda: sum(one.offset for one in senders) > share * total, DEADLINE_SECONDS)  # noqa: B023 - called at once
        kill_all(door)
        door.start()
    for sender in senders:
        sender.join(max(deadline - time.monotonic(), 0) + 1)
    assert all(sender.done for sender in senders)
    for number, data in enumerate(sources):
        found = (folder.path / f"f{number}").read_bytes()
        assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()
    assert door.sweep() == 0
