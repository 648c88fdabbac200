"""A permission that is taken away from many who use it: no new request has it.

The bounds are those of `docs/access.md`: a second while the store is up, five while it is killed.
"""

import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from backends.volumes.access.subjects import LocalVolumes, SubjectStore
from core.access import AccessCache
from core.names import VFolderId
from core.redis import Database, connect
from tests.api.people.conftest import MORE, People, Person, grant_to
from tests.support.doors import running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey, running_valkey

#: Of docs/access.md (seconds).
UP_SECONDS, AWAY_SECONDS = 1.0, 5.0
#: Two processes: the one that hears of a change, and another one.
TWO = MORE.replace("processes = 1", "processes = 2")
#: How many read and lose it at the same time, of how many vfolders. Few where the store is away: a
#: door waits for it then, and many would wait for its threads.
READERS = {"up": 50, "killed": 6}
VFOLDERS = 2
#: Between two requests of a reader (seconds): they are many, and the machine is small.
PAUSE_SECONDS = 0.3
ANSWER_SECONDS = 120.0


@dataclass
class Site:
    """A door of two processes, and the store."""

    people: People
    valkey: Valkey

    @contextmanager
    def store(self, state: str) -> Iterator[None]:
        """The store in a state, until the end of the block."""
        if state == "killed":
            self.valkey.kill()
        try:
            yield
        finally:
            if state == "killed":
                self.valkey.start()
                with self.valkey.client() as client:
                    wait_for(client.ping)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("revocation")
    for name in ("second", "valkey"):
        (directory / name).mkdir()
    with running_valkey(directory / "valkey") as valkey:
        settings = settings_in(directory, valkey.url, TWO)
        with running_door("client", settings) as door, connect(settings, Database.LIVE) as client:
            cache = AccessCache(settings)
            secrets = [settings.storage_proxy.secret]
            volumes = LocalVolumes(settings)
            subjects = SubjectStore("local", secrets, volumes, client, announce=cache.changed)
            yield Site(People(settings, door, subjects, cache), valkey)


class Line:
    """A connection of a person that stays open, so its requests come to one process."""

    def __init__(self, people: People, person: Person) -> None:
        netloc = urlsplit(people.door.url).netloc
        self._headers = person.headers
        self._connection = http.client.HTTPConnection(netloc, timeout=ANSWER_SECONDS)

    def ask(self, method: str, path: str) -> int:
        self._connection.request(method, path, headers=self._headers)
        response = self._connection.getresponse()
        response.read()
        return response.status

    def close(self) -> None:
        self._connection.close()


@dataclass
class Reader:
    """A person that reads a file again and again, and when a request that was answered began."""

    person: Person
    vfolder: VFolderId
    grant: str
    began: list[float] = field(default_factory=list)
    refused: threading.Event = field(default_factory=threading.Event)
    revoked_at: float = 0.0

    def read(self, people: People, ends: threading.Event) -> None:
        line = Line(people, self.person)
        path = f"/v1/vfolders/local:{self.vfolder.id}/content?path=a.txt"
        while not ends.is_set() and not self.refused.is_set():
            began = time.monotonic()
            status = line.ask("GET", path)
            if status == 404:
                self.refused.set()
            elif status == 200:
                self.began.append(began)
            else:
                assert status == 503, status
            ends.wait(PAUSE_SECONDS)
        line.close()

    def revoke(self, people: People, owner: Person) -> None:
        """Take the grant back; another change of the record at the same moment is tried again."""
        line = Line(people, owner)
        path = f"/v1/vfolders/local:{self.vfolder.id}/grants/{self.grant}"
        while (status := line.ask("DELETE", path)) in (409, 503):
            time.sleep(0.01)
        assert status == 204, status
        self.revoked_at = time.monotonic()
        line.close()


def readers(people: People, owner: Person, count: int) -> list[Reader]:
    """Persons with a grant each."""
    found = []
    for _ in range(VFOLDERS):
        vfolder = people.vfolder(owner, **{"a.txt": "hello"})
        persons = [people.person() for _ in range(count // VFOLDERS)]
        grants = [grant_to(one.word, "rw") for one in persons]
        people.grant(vfolder, *grants)
        pairs = zip(persons, grants, strict=True)
        found += [Reader(one, vfolder, grant.id) for one, grant in pairs]
    return found


@pytest.mark.parametrize("state", ["up"])
def test_no_new_request_has_what_was_revoked(site: Site, state: str) -> None:
    people, ends = site.people, threading.Event()
    owner = people.person()
    all_readers = readers(people, owner, READERS[state])
    with ThreadPoolExecutor(2 * READERS[state]) as pool:
        reads = [pool.submit(one.read, people, ends) for one in all_readers]
        try:
            wait_for(lambda: all(len(one.began) > 1 for one in all_readers), 60)
            with site.store(state):
                revokes = [pool.submit(one.revoke, people, owner) for one in all_readers]
                for one in revokes:
                    one.result(120)
                wait_for(lambda: all(one.refused.is_set() for one in all_readers), 120)
        finally:
            ends.set()
        for one in reads:
            one.result(120)
    bound = UP_SECONDS if state == "up" else AWAY_SECONDS
    late = [max(one.began) - one.revoked_at for one in all_readers]
    assert max(late) <= bound, sorted(late)
    for vfolder in {one.vfolder for one in all_readers}:
        grants = people.call(owner, "GET", f"/v1/vfolders/{vfolder.id}/grants").json()["grants"]
        assert grants == []
