"""A store that does not answer, because packets vanish: people's requests are answered soon.

What the files say needs no store. What needs it is 503 with words and `Retry-After`. Either comes
after the time-outs of a few calls at most, not of all calls of a request.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from backends.volumes.access.subjects import LocalVolumes, SubjectStore
from core.access import AccessCache
from core.access.credentials import keys as api_keys
from core.redis import Database, connect
from tests.api.people.conftest import MORE, People, Person, grant_to
from tests.support.cable import Cable, laid
from tests.support.doors import running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import running_valkey

#: `answer-timeout` is 2 s, and a call is tried twice. A caller meets that once, or is the one that
#: tries again. Without a guard one revocation takes 12 s, and each caller waits for its own calls.
BOUND_SECONDS = 12.0
READERS = 8
ROUNDS = 3


@dataclass
class Site:
    people: People
    cable: Cable


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("partitioned")
    for name in ("second", "valkey"):
        (directory / name).mkdir()
    with running_valkey(directory / "valkey") as valkey, laid(valkey.port) as cable:
        url = valkey.url.replace(str(valkey.port), str(cable.port))
        settings = settings_in(directory, url, MORE)
        with running_door("client", settings) as door, connect(settings, Database.LIVE) as client:
            cache = AccessCache(settings)
            secrets = [settings.storage_proxy.secret]
            volumes = LocalVolumes(settings)
            subjects = SubjectStore("local", secrets, volumes, client, announce=cache.changed)
            yield Site(People(settings, door, subjects, cache), cable)


@pytest.fixture
def cut(site: Site) -> Iterator[Cable]:
    """The cable, mended again after the test."""
    yield site.cable
    site.cable.mend()


def asked(
    people: People, person: Person, method: str, path: str, body: Any = None
) -> tuple[requests.Response, float]:
    """One request on a connection of its own, and how long it took (seconds)."""
    began = time.monotonic()
    answer = requests.request(
        method, people.door.url + path, json=body, headers=person.headers, timeout=120
    )
    return answer, time.monotonic() - began


def check(answer: requests.Response, *good: int) -> None:
    """One of these statuses, or a problem that says when to try again."""
    if answer.status_code not in good:
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["detail"]


def test_every_answer_comes_soon(site: Site, cut: Cable) -> None:
    people = site.people
    owner, reader = people.person(), people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "hello"})
    people.grant(vfolder, grant_to(reader.word, "ro"))
    second, third = Person(owner.id), Person(owner.id)
    second.key, third.key = people.new_key(second), people.new_key(third)
    content = f"/v1/vfolders/local:{vfolder.id}/content?path=a.txt"
    for one in (owner, reader, second):
        wait_for(lambda one=one: asked(people, one, "GET", content)[0].status_code == 200)  # type: ignore[misc] # a default
    cut.cut()
    others = [
        ("GET", "/v1/me", None, 200),
        ("GET", "/v1/vfolders", None, 200),
        ("GET", "/v1/keys", None, 200),
        ("GET", "/v1/jobs", None, 200),
        ("GET", f"/v1/vfolders/local:{vfolder.id}/grants", None, 200),
        ("POST", f"/v1/vfolders/local:{vfolder.id}/delete", {"paths": ["none"]}, 202),
    ]

    def read(_: int) -> list[float]:
        times = []
        for _ in range(ROUNDS):
            answer, seconds = asked(people, reader, "GET", content)
            check(answer, 200)
            times.append(seconds)
        return times

    def revoke() -> float:
        """Revoke two keys, one after the other."""
        total = 0.0
        for one in (second, third):
            path = f"/v1/keys/{api_keys.parsed(one.key).id}"
            answer, seconds = asked(people, owner, "DELETE", path)
            assert answer.status_code == 204, answer.text
            total += seconds
        return total

    with ThreadPoolExecutor(READERS + len(others) + 1) as pool:
        reads = [pool.submit(read, number) for number in range(READERS)]
        revokes = pool.submit(revoke)
        looks = [pool.submit(asked, people, owner, *one[:3]) for one in others]
        times = [seconds for one in reads for seconds in one.result(300)]
        times.append(revokes.result(300))
        for look, (method, path, _, status) in zip(looks, others, strict=True):
            found, seconds = look.result(300)
            check(found, status)
            assert seconds < BOUND_SECONDS, (method, path)
    assert max(times) < BOUND_SECONDS, sorted(times)
    # What was revoked on disk counts while the store is away, too, within 5 s.
    wait_for(lambda: asked(people, second, "GET", content)[0].status_code == 401, 60)
    cut.mend()
    wait_for(lambda: asked(people, reader, "GET", "/v1/vfolders")[0].status_code == 200, 60)
    assert asked(people, second, "GET", content)[0].status_code == 401
