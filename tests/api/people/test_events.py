"""One stream of news for a page: who gets what, and what a stream that was broken gets again."""

import itertools
import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from api.jobs.feed import SUBJECTS_MAX, next_turn
from api.streaming import EventStream
from api.streaming.events import LOST, THINGS_MAX
from core.access import Scope
from tests.api.people.conftest import People, Person
from tests.api.people.test_story import upload
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
            if event["event"] != "alive":
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
        *(("topics=events", 403), ("topics=findings", 403)),
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


def test_a_quiet_stream_says_that_it_is_alive_and_where_it_began(people: People) -> None:
    owner = people.person()
    url = f"{people.door.url}/v1/events?topics=quota"
    with people.door.session.get(url, headers=owner.headers, stream=True, timeout=60) as answer:
        lines = filter(None, answer.iter_lines(chunk_size=1))
        head = [next(lines) for _ in range(4)]
        assert [head[0][:7], head[1][:4]] == [b"retry: ", b"id: "]
        assert head[2:] == [b"event: alive", b"data: {}"]
        assert [next(lines), next(lines)] == head[2:], "after ten seconds of silence"


def named(news: News, topic: str) -> list[str | None]:
    """The things of a topic that news were about, each run of the same once."""
    ids = [one["id"] for one in news if one["event"] == topic]
    return [name for name, _ in itertools.groupby(ids)]


def share(people: People, owner: Person, path: str, to: str) -> str:
    answer = people.call(owner, "POST", f"{path}/grants", {"to": to, "permission": "rw"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def known_group(people: People, member: Person, admin: Person) -> UUID:
    """A new group that the door knows the member of."""
    group = people.group(member, admin, admins=(admin,))

    def known() -> bool:
        return str(group) in people.call(member, "GET", "/v1/groups").text

    wait_for(known)
    return group


def test_news_of_vfolders_are_for_those_who_see_them(people: People) -> None:
    """Who loses a vfolder hears of a change without a name; a stranger hears nothing."""
    owner, guest, stranger = people.person(), people.person(), people.person()
    member, admin, operator = people.person(), people.person(), people.operator()
    group = known_group(people, member, admin)
    query = "topics=vfolders"
    with (
        followed(people, owner, query) as own,
        followed(people, guest, query) as guests,
        followed(people, stranger, query) as strangers,
        followed(people, member, query) as members,
        followed(people, operator, query) as operators,
    ):
        body = {"name": "shared", "volume": "local"}
        reference = f"local:{people.call(owner, 'POST', '/v1/vfolders', body).json()['id']}"
        path = f"/v1/vfolders/{reference}"
        wait_for(lambda: named(own, "vfolders")[-1:] == [reference])
        grant = share(people, owner, path, guest.word)
        wait_for(lambda: named(guests, "vfolders")[-1:] == [reference])
        share(people, owner, path, f"group:{group}")
        wait_for(lambda: named(members, "vfolders")[-1:] == [reference])
        wait_for(some(operators, event="vfolders", id=reference))

        assert people.call(owner, "DELETE", f"{path}/grants/{grant}").status_code == 204
        wait_for(lambda: named(guests, "vfolders")[-2:] == [reference, None])
        owned, heard, known = len(own), len(members), len(guests)
        assert people.call(owner, "PATCH", path, {"name": "other"}).status_code == 200
        wait_for(lambda: len(own) > owned and len(members) > heard)
        job = people.call(owner, "DELETE", path).json()["id"]
        people.ended(owner, job)
        wait_for(lambda: named(members, "vfolders")[-2:] == [reference, None])
        assert len(guests) == known, "the rest is none of its business"
        assert strangers == []
        assert set(named(own, "vfolders")) == {reference}


def test_who_joins_a_group_looks_again(people: People) -> None:
    member, admin = people.person(), people.person()
    group = known_group(people, member, admin)
    with followed(people, member, "topics=vfolders") as news:
        path = f"/v1/groups/{group}/members"
        answer = people.call(admin, "POST", path, {"user": str(people.person().id), "admin": False})
        assert answer.status_code in (200, 201), answer.text
        wait_for(lambda: named(news, "vfolders") == [None])


def test_news_of_uploads_are_for_their_sender(people: People) -> None:
    owner, sender, stranger = people.person(), people.person(), people.person()
    vfolder = people.vfolder(owner)
    path = f"/v1/vfolders/{vfolder.id}"
    grant = share(people, owner, path, sender.word)
    query = "topics=uploads"
    with (
        followed(people, owner, query) as owners,
        followed(people, sender, query) as own,
        followed(people, stranger, query) as strangers,
        followed(people, people.operator(), query) as operators,
    ):
        numbers = itertools.count()

        def opened() -> str:
            """Open an upload until the first comparison of each reader was before one."""
            meta = f"relativePath {b64encode(b'n%d' % next(numbers)).decode()}"
            head = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": meta}
            answer = people.call(sender, "POST", f"{path}/uploads", headers=head)
            assert answer.status_code == 201, answer.text
            name = answer.headers["Location"].rpartition("/")[2]
            time.sleep(2.5)
            return name if name in named(own, "uploads") and operators else ""

        name, at = wait_for(opened), "/v1/uploads/"
        assert set(named(operators, "uploads")) == {None}
        seen, count = len(own), len(operators)
        head = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
        head["Content-Type"] = "application/offset+octet-stream"
        sent = people.call(sender, "PATCH", at + name, headers=head, data=b"123")
        assert sent.status_code == 204, sent.text
        wait_for(lambda: [one["id"] for one in own[seen:]] == [name])
        wait_for(lambda: named(operators[count:], "uploads"))

        assert people.call(owner, "DELETE", f"{path}/grants/{grant}").status_code == 204
        seen = len(own)
        again = {**head, "Upload-Offset": "3"}
        refused = people.call(sender, "PATCH", at + name, headers=again, data=b"4")
        assert refused.status_code == 404
        count = len(operators)
        ended = people.call(people.operator(), "POST", f"{at}{name}/end", {"reason": "test"})
        assert ended.status_code in (200, 204), ended.text
        # The same look found both, and the operator's news are sent first.
        wait_for(lambda: len(operators) > count)
        assert people.call(sender, "GET", "/v1/uploads").json()["uploads"] == []
        assert own[seen:] == [], "it may not write there any more"
        assert owners == strangers == []


def test_news_of_quotas_are_for_the_scope_and_its_group(people: People) -> None:
    member, admin, stranger = people.person(), people.person(), people.person()
    operator = people.operator()
    group = known_group(people, member, admin)
    vfolder, scope = people.vfolder(group), f"project:{group}"
    query = "topics=quota"
    with (
        followed(people, member, query) as members,
        followed(people, stranger, query) as strangers,
        followed(people, operator, query) as operators,
    ):
        limits = itertools.count(1000)

        def limited() -> bool:
            body = {"volume": "local", "limit_bytes": next(limits)}
            assert people.call(operator, "PUT", f"/v1/quotas/{scope}", body).status_code == 200
            time.sleep(2.5)
            return bool(members)

        wait_for(limited)
        seen = len(members)
        base = f"/v1/vfolders/{vfolder.id}"
        assert upload(people, admin, base, "a", b"x" * 990).status_code == 201
        wait_for(lambda: members[seen:])
        assert named(members, "quota") == [scope]
        wait_for(some(operators, event="quota", id="local"))
        assert strangers == []


def test_a_turn_has_a_bound_and_all_have_theirs() -> None:
    subjects = ["", *(f"{number:04}" for number in range(SUBJECTS_MAX * 2 + 4))]
    seen, after = list[str](), None
    for _ in range(3):
        turn = next_turn(subjects, after)
        assert len(turn) <= SUBJECTS_MAX
        seen, after = seen + turn, turn[-1]
    assert seen == subjects
    assert next_turn(subjects, after) == subjects[:SUBJECTS_MAX]
    assert next_turn([], after) == []
