"""One stream of news for a page: who gets what, and what a stream that was broken gets again."""

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from api.streaming import EventStream
from api.streaming.events import LOST, THINGS_MAX
from core.access import Scope
from tests.api.people.conftest import People, Person
from tests.support.node import wait_for

News = list[dict[str, Any]]


@contextmanager
def followed(people: People, person: Person, query: str) -> Iterator[News]:
    """The events that a person gets, as they come."""
    news: News = []
    begun = threading.Event()
    host, _, port = people.door.url.rpartition("/")[2].partition(":")
    head = f"GET /v1/events?{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    with socket.create_connection((host, int(port))) as stream:
        stream.sendall(f"{head}Authorization: Bearer {person.key}\r\n\r\n".encode())
        lines = stream.makefile("rb")
        thread = threading.Thread(target=_read, args=(lines, news, begun))
        thread.start()
        assert begun.wait(60)
        yield news
        stream.shutdown(socket.SHUT_RDWR)  # closing alone would wait for the reader
        thread.join(60)


def _read(lines: Iterable[bytes], news: News, begun: threading.Event) -> None:
    """Keep the events of a response; lines of its head and sizes of chunks say nothing here."""
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.decode().strip().partition(": ")
        if name == "retry":
            begun.set()
        elif name in ("id", "event"):
            event[name] = value
        elif name == "data":
            news.append(event | json.loads(value))
            event = {}


def some(news: News, **wanted: str) -> Callable[[], News]:
    return lambda: [one for one in news if wanted.items() <= {k: one.get(k) for k in one}.items()]


def ended_in(news: News) -> Callable[[], News]:
    return lambda: [one for one in news if one.get("document", {}).get("done")]


def test_each_gets_the_news_of_what_it_may_see(people: People) -> None:
    operator, owner, other = people.operator(), people.person(), people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "x"})
    with (
        followed(people, operator, "topics=jobs,volumes,nodes,audit") as all_news,
        followed(people, owner, "topics=jobs,volumes") as own_news,
        followed(people, other, "topics=jobs,volumes") as others_news,
    ):
        path = f"/v1/vfolders/{vfolder.id}/delete"
        job = people.call(owner, "POST", path, {"paths": ["a.txt"]}).json()["id"]
        people.ended(owner, job)
        for news in (own_news, all_news):
            found = wait_for(
                lambda news=news: [n for n in news if n.get("document", {}).get("done")]
            )
            assert found[-1]["id"] == job
            assert found[-1]["document"]["state"] == "succeeded"
        # The first comparison may come late: what was before it is no news.
        numbers = itertools.count()

        def paused() -> bool:
            reason = {"reason": f"test {next(numbers)}"}
            people.call(operator, "POST", "/v1/volumes/second/pause", reason)
            time.sleep(0.5)
            got = [some(news, event="volumes", id="second")() for news in (own_news, others_news)]
            return all(got) and bool(some(all_news, event="audit")())

        try:
            wait_for(paused)
            wait_for(some(all_news, event="volumes", id="second"))
        finally:
            people.call(operator, "POST", "/v1/volumes/second/resume")
        assert not [one for one in others_news if one["event"] != "volumes"]


def test_a_stream_that_begins_again_gets_what_it_missed(people: People) -> None:
    owner = people.person()
    vfolder = people.vfolder(owner, **{"a.txt": "x", "b.txt": "y"})
    path = f"/v1/vfolders/{vfolder.id}/delete"
    jobs = []
    for name in ("a.txt", "b.txt"):
        jobs.append(people.call(owner, "POST", path, {"paths": [name]}).json()["id"])
        people.ended(owner, jobs[-1])
    with followed(people, owner, "topics=jobs&last_event_id=1") as news:
        wait_for(lambda: {one["id"] for one in news} >= set(jobs))
    with followed(people, owner, "topics=jobs&last_event_id=9999999999999") as later:
        assert people.call(owner, "GET", "/v1/me").status_code == 200
    assert later == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        *(("", 400), ("topics=", 400), ("topics=files", 400), ("topics=jobs&more=1", 400)),
        *(("topics=nodes", 403), ("topics=jobs,audit", 403)),
    ],
)
def test_topics_that_a_person_does_not_get(people: People, query: str, status: int) -> None:
    answer = people.call(people.person(), "GET", f"/v1/events?{query}")
    assert answer.status_code == status, answer.text


def test_a_key_without_a_scope_gets_no_news_of_jobs(people: People) -> None:
    key = people.person(frozenset({Scope.FILES_READ}))
    assert people.call(key, "GET", "/v1/events?topics=jobs").status_code == 403


def test_a_slow_reader_gets_the_newest_of_each_thing() -> None:
    stream = EventStream(b"begin ")
    for piece in (b"a1 ", b"a2 ", b"a3 "):
        stream.add("a", piece)
    stream.add("b", b"b1 ")
    stream.add("a", b"a4 ")
    assert stream.take() == (b"begin b1 a4 ", False)
    assert stream.take() == (b"", False)
    for number in range(THINGS_MAX + 1):
        stream.add(str(number), b"%d " % number)
    assert stream.take() == (LOST + b"%d " % THINGS_MAX, False)
    stream.close()
    stream.add("a", b"a5 ")
    assert stream.take() == (b"", True)
