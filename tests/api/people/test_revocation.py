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
from typing import Any
from urllib.parse import urlsplit

import pytest

from backends.volumes.access.subjects import LocalVolumes, SubjectStore
from core.access import AccessCache
from core.access.credentials import keys as api_keys
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
READERS = {"up": 50, "killed": 6, "killed amid": 6}
VFOLDERS = 2
#: Between two requests of a reader (seconds): they are many, and the machine is small.
PAUSE_SECONDS = 0.3
ANSWER_SECONDS = 120.0
#: After a change that the store did not take, and its return: a look each second, and a request.
SEEN_SECONDS = AWAY_SECONDS
#: So many requests of each reader are refused after the store has come back.
REFUSED_LATER = 5


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
            if state != "up":
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
    #: What takes the permission away, and who does it; and the status of a reader without it.
    revoker: Person
    path: str
    refusal: int = 404
    began: list[float] = field(default_factory=list)
    refused: int = 0
    revoked_at: float = 0.0

    def read(self, people: People, ends: threading.Event) -> None:
        line = Line(people, self.person)
        path = f"/v1/vfolders/local:{self.vfolder.id}/content?path=a.txt"
        while not ends.is_set():
            began = time.monotonic()
            status = line.ask("GET", path)
            if status == self.refusal:
                self.refused += 1
            elif status == 200:
                self.began.append(began)
            else:
                assert status == 503, status
            ends.wait(PAUSE_SECONDS)
        line.close()

    def revoke(self, people: People) -> None:
        """Take the permission back; another change of the record at that moment is tried again."""
        line = Line(people, self.revoker)
        while (status := line.ask("DELETE", self.path)) in (409, 503):
            time.sleep(0.01)
        assert status == 204, status
        self.revoked_at = time.monotonic()
        line.close()

    @property
    def late(self) -> float:
        """How long after the revocation the last request began that was answered (seconds)."""
        return max(self.began) - self.revoked_at


def by_grant(people: People, count: int) -> list[Reader]:
    """Persons with a grant each."""
    owner = people.person()
    found = []
    for _ in range(VFOLDERS):
        vfolder = people.vfolder(owner, **{"a.txt": "hello"})
        persons = [people.person() for _ in range(count // VFOLDERS)]
        grants = [grant_to(one.word, "rw") for one in persons]
        people.grant(vfolder, *grants)
        for one, grant in zip(persons, grants, strict=True):
            path = f"/v1/vfolders/local:{vfolder.id}/grants/{grant.id}"
            found.append(Reader(one, vfolder, owner, path))
    return found


def by_key(people: People, count: int) -> list[Reader]:
    """Persons with a vfolder of their own, and a second key to revoke the first."""
    found = []
    for _ in range(count):
        owner = people.person()
        other = Person(owner.id, people.new_key(owner))
        path = f"/v1/keys/{api_keys.parsed(owner.key).id}"
        vfolder = people.vfolder(owner, **{"a.txt": "hello"})
        found.append(Reader(owner, vfolder, other, path, 401))
    return found


def by_membership(people: People, count: int) -> list[Reader]:
    """Members of a group that owns the vfolder."""
    admin, members = people.person(), [people.person() for _ in range(count)]
    group = people.group(*members, admins=(admin,))
    vfolder = people.vfolder(group, **{"a.txt": "hello"})
    top = f"/v1/groups/{group}/members"
    return [Reader(one, vfolder, admin, f"{top}/{one.id}") for one in members]


KINDS = {"grant": by_grant, "key": by_key, "membership": by_membership}


@pytest.mark.parametrize("state", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_new_request_has_what_was_revoked(site: Site, kind: str, state: str) -> None:
    """Neither while the store is up or killed, nor when it is there again with its old values."""
    people, ends = site.people, threading.Event()
    lose = KINDS[kind](people, READERS[state])
    (kept,) = by_key(people, 1)  # nothing is taken from it
    with ThreadPoolExecutor(2 * len(lose) + 1) as pool:
        reads = [pool.submit(one.read, people, ends) for one in (*lose, kept)]
        try:
            wait_for(lambda: all(len(one.began) > 1 for one in (*lose, kept)), 60)
            with site.store(state):
                revokes = [pool.submit(one.revoke, people) for one in lose]
                if state == "killed amid":
                    wait_for(lambda: any(one.revoked_at for one in lose), 60)
                    site.valkey.kill()
                for one in revokes:
                    one.result(120)
                wait_for(lambda: all(one.refused for one in lose), 120)
                before = len(kept.began)
                wait_for(lambda: len(kept.began) > before, 120, "the files alone suffice")
            refused = {id(one): one.refused for one in lose}
            wait_for(
                lambda: all(one.refused >= refused[id(one)] + REFUSED_LATER for one in lose), 120
            )
        finally:
            ends.set()
        for one in reads:
            one.result(120)
    bound = UP_SECONDS if state == "up" else AWAY_SECONDS
    assert max(one.late for one in lose) <= bound, sorted(one.late for one in lose)
    assert not kept.refused
    if kind == "grant":
        for vfolder, owner in {(one.vfolder, one.revoker.key) for one in lose}:
            path = f"/v1/vfolders/{vfolder.id}/grants"
            assert people.call(Person(key=owner), "GET", path).json()["grants"] == []


@pytest.mark.parametrize("reads_meanwhile", [True, False])
def test_a_process_that_missed_the_outage_hears_of_a_lost_membership(
    site: Site, *, reads_meanwhile: bool
) -> None:
    """The store is away for the time of one change. It has the values from before it."""
    people = site.people
    (reader,) = by_membership(people, 1)
    lines = [Line(people, reader.person) for _ in range(8)]  # to both processes
    path = f"/v1/vfolders/local:{reader.vfolder.id}/content?path=a.txt"
    for line in lines:
        wait_for(lambda line=line: line.ask("GET", path) == 200)  # type: ignore[misc] # a default
    with site.store("killed"):
        reader.revoke(people)
        if reads_meanwhile:
            assert {line.ask("GET", path) for line in lines} <= {200, 404, 503}
    wait_for(lambda: all(line.ask("GET", path) == 404 for line in lines), 60)
    late = time.monotonic() - reader.revoked_at
    assert late < SEEN_SECONDS, late
    for line in lines:
        line.close()


def test_a_link_gives_nothing_without_the_store_and_stays_ended(site: Site) -> None:
    people = site.people
    owner = people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "hello"})
    base = f"/v1/vfolders/{vfolder.id}"

    def made() -> tuple[str, str]:
        link = people.call(owner, "POST", f"{base}/links", {}).json()
        return f"{urlsplit(link['url']).path}/content?path=a.txt", f"/v1/links/{link['id']}"

    def status(path: str, method: str = "GET", body: Any = None) -> int:
        who = owner if path.startswith("/v1") else None
        return people.call(who, method, path, body, on_fault=True).status_code

    (first, first_link), (second, second_link) = made(), made()
    for path in (first, second):
        wait_for(lambda path=path: status(path) == 200)  # type: ignore[misc] # a default
    with site.store("killed"):
        assert (status(first), status(second)) == (503, 503)
        # Which vfolder has the link is in the store; that it has none at all is in its record.
        assert status(first_link, "DELETE") == 503
        # The answer to this has figures of the store, and is 503 for them.
        assert status(base, "PATCH", {"links_allowed": False}) in (200, 503)
        assert status(first) == 503
    wait_for(lambda: status(first) == 404 and status(second) == 404, 60)
    assert status(base, "PATCH", {"links_allowed": True}) == 200
    wait_for(lambda: status(first) == 200, 60)
    assert status(first_link, "DELETE") == 204
    with site.store("killed"):
        assert status(first) == 503
    for _ in range(REFUSED_LATER):
        assert status(first) in (404, 503)
    wait_for(lambda: (status(first), status(second)) == (404, 200), 60)
    assert status(second_link, "DELETE") == 204
    wait_for(lambda: status(second) == 404)
