"""What a look found is taken again for a moment only, and a change of the door counts at once."""

import http.client
import time
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from api.access.looks import FOUND_SECONDS, LooksBefore
from api.access.records import FoundVFolder
from backends.volumes.access import KnownVFolder
from core.access import (
    ACTS,
    AccessCache,
    AccessChange,
    Caller,
    CredentialFacts,
    Decision,
    Subject,
    VFolderResource,
    decide_rule,
    records,
)
from core.access.permissions import PERSON_SCOPES
from core.names import QuotaScope, VFolderId
from tests.api.people.conftest import People, grant_to

ACT = "entries.read"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cache(people: People) -> AccessCache:
    return AccessCache(people.settings)


def caller_of(user: Subject) -> Caller:
    credential = CredentialFacts(kind="key", id="k", scopes=PERSON_SCOPES)
    return Caller(subject=user, credential=credential)


def seen_by(caller: Caller, **trash: str) -> tuple[FoundVFolder, Decision]:
    vfolder = VFolderId(QuotaScope.parse(f"user:{caller.subject.id}"), uuid4())
    record = records.implied("local", vfolder)
    decision = decide_rule(caller, ACTS[ACT], {"vfolder": VFolderResource(record=record)})
    return FoundVFolder(KnownVFolder("local", vfolder, record, ""), **trash), decision


def test_a_look_is_kept_for_a_moment_and_for_its_caller(cache: AccessCache) -> None:
    clock = Clock()
    looks = LooksBefore(cache, clock)
    caller = caller_of(Subject(kind="user", id=uuid4()))
    seen = seen_by(caller)
    assert seen[1].allowed
    looks.add(caller, ACT, "text", seen, cache.changes)
    assert looks.get(caller, ACT, "text") is seen
    assert looks.get(caller, ACT, "other") is None
    assert looks.get(caller, "grants.read", "text") is None
    assert looks.get(caller_of(Subject(kind="user", id=caller.subject.id)), ACT, "text") is None
    clock.now += FOUND_SECONDS
    assert looks.get(caller, ACT, "text") is None


def test_a_change_of_this_process_ends_all_looks(cache: AccessCache) -> None:
    looks = LooksBefore(cache, Clock())
    caller = caller_of(Subject(kind="user", id=uuid4()))
    seen, before = seen_by(caller), cache.changes
    looks.add(caller, ACT, "text", seen, before)
    cache.changed(AccessChange(vfolders=(uuid4(),), volumes=("local",)))
    assert looks.get(caller, ACT, "text") is None
    looks.add(caller, ACT, "text", seen, before)  # it began before the change
    assert looks.get(caller, ACT, "text") is None


def test_refusals_and_the_trash_are_not_kept(cache: AccessCache) -> None:
    looks = LooksBefore(cache, Clock())
    caller = caller_of(Subject(kind="user", id=uuid4()))
    stranger = caller_of(Subject(kind="user", id=uuid4()))
    found, _ = seen_by(caller)
    refused = decide_rule(stranger, ACTS[ACT], {"vfolder": found.resource})
    looks.add(stranger, ACT, "text", (found, refused), cache.changes)
    assert looks.get(stranger, ACT, "text") is None
    looks.add(caller, ACT, "text", seen_by(caller, trash="1"), cache.changes)
    assert looks.get(caller, ACT, "text") is None


def test_a_revoke_at_the_door_counts_for_its_next_request(people: People) -> None:
    owner, reader = people.person(), people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "hello"})
    grant = grant_to(reader.word, "ro")
    people.grant(vfolder, grant)
    line = http.client.HTTPConnection(urlsplit(people.door.url).netloc, timeout=60)

    def ask(headers: dict[str, str], method: str, path: str) -> int:
        line.request(method, path, headers=headers)
        response = line.getresponse()
        response.read()
        return response.status

    content = f"/v1/vfolders/{vfolder.id}/content?path=a.txt"
    deadline = time.monotonic() + 60
    while (status := ask(reader.headers, "GET", content)) != 200:
        assert status == 404
        assert time.monotonic() < deadline
    assert ask(reader.headers, "GET", content) == 200
    path = f"/v1/vfolders/{vfolder.id}/grants/{grant.id}"
    assert ask(owner.headers, "DELETE", path) == 204
    assert ask(reader.headers, "GET", content) == 404
    line.close()
