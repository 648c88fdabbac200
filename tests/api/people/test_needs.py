"""No route without an act, no answer without a decision, no stream without a permission."""

import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from io import FileIO
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
from flask import Flask, Response
from gunicorn.http.wsgi import FileWrapper
from msgspec import structs
from redis import RedisError
from werkzeug.test import TestResponse

from api.access import KeptDecision, open_answer, openings
from api.access.holders import check_not_ended
from api.access.openings import Openings
from api.access.streams import (
    LONG_BYTES,
    LOOK_SECONDS,
    SUBJECT_STREAMS_MAX,
    PersonStreams,
)
from api.doors.client.upload_body import DecidedBody
from api.doors.people.places import id_of_key
from api.doors.people.tickets import expiry_of
from api.routes import PeopleResource, PersonRequest, Route, RouteAnswer, make_app, needs
from api.routes.ticket_issue import seconds_of
from api.server.response_streams import new_stream
from api.streaming import EventStream, FilePart, Pace
from core.access import ACTS, CredentialFacts, DownloadTicket
from core.errors import (
    AccessForbidden,
    AccessUnavailable,
    ConfigurationError,
    DeadlineExceeded,
    StorageError,
    Unauthenticated,
    Unavailable,
)
from core.names import QuotaScope
from tests.api.people.conftest import People
from tests.support.doors import closing
from tests.support.node import wait_for

ROUTE = Route(gives={200: RouteAnswer("It.")})


def test_a_route_without_an_act_ends_the_start() -> None:
    resource = PeopleResource("things", __name__)
    with pytest.raises(ConfigurationError, match="names no act"):
        resource.operation("GET", "/v1/things", ROUTE)(lambda **_: Response())


def test_an_act_that_no_row_has_ends_the_start() -> None:
    with pytest.raises(ConfigurationError, match="No act"):
        needs("things.read")


@pytest.fixture
def app(people: People) -> Iterator[Flask]:
    """A door in this process, without views."""
    with closing(make_app("client", people.settings)) as made:
        yield made


def test_an_answer_without_a_decision_never_leaves(people: People, app: Flask) -> None:
    """A view whose act is about what its body names must decide it."""
    resource = PeopleResource("things", __name__)
    called = []

    @resource.operation(
        "POST", "/v1/things", Route(gives={200: RouteAnswer("It.")}, ignores_body=True)
    )
    @needs("vfolders.create")
    def make_thing(asked: PersonRequest) -> Response:
        called.append(asked.rule)
        return Response("made")

    app.register_blueprint(resource)
    answer = app.test_client().post("/v1/things", headers=people.person().headers)
    assert called == [ACTS["vfolders.create"]]
    assert answer.status_code == 500
    assert b"made" not in answer.data


def test_where_no_operator_calls_from_its_routes_are_not_there(people: People, app: Flask) -> None:
    resource = PeopleResource("things", __name__)

    @resource.operation("GET", "/v1/things", ROUTE)
    @needs("settings.read")
    def list_things(asked: PersonRequest) -> Response:
        return Response(asked.caller.subject.kind)

    app.register_blueprint(resource)
    client, user, operator = app.test_client(), people.person(), people.operator()

    def ask(headers: dict[str, str], *, path: str = "/v1/things", **sent: str) -> TestResponse:
        headers = {**headers, **sent, "X-Request-ID": "r"}
        return client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": address})

    address = "127.0.0.1"
    assert ask(operator.headers).text == "operator"
    assert [ask(one).status_code for one in (user.headers, {})] == [403, 401]
    absent = ask({}, path="/v1/nothing")
    assert absent.status_code == 404
    by_proxy = ask(operator.headers, **{"X-Forwarded-For": "127.0.0.1"})
    assert by_proxy.json == absent.json
    address = "203.0.113.9"
    for headers in (operator.headers, user.headers, {}):
        assert ask(headers).json == absent.json


def test_an_ended_credential_is_no_absent_thing() -> None:
    """404 would tell its sender that everything is gone; 401 makes it renew the token."""
    facts = CredentialFacts(kind="token", id="t", scopes=frozenset(), expires_at=time.time() - 1)
    with pytest.raises(Unauthenticated):
        check_not_ended(facts)
    check_not_ended(structs.replace(facts, expires_at=time.time() + 3600))
    check_not_ended(structs.replace(facts, expires_at=None))
    check_not_ended(structs.replace(facts, leeway=60.0))


def test_a_ticket_ends_with_its_credential() -> None:
    now = time.time()
    facts = CredentialFacts(kind="token", id="t", scopes=frozenset(), expires_at=now + 60)
    assert expiry_of(facts) <= now + 60
    assert now + 200 < expiry_of(structs.replace(facts, expires_at=None)) <= now + 301


def test_what_a_ticket_names_is_kept_as_long_as_the_ticket() -> None:
    """A person may ask for many tickets of many paths, and the store has them all."""
    ticket = DownloadTicket(volume="v", vfid="x", relpath="y", exp=time.time() + 60)
    assert 59 <= seconds_of(ticket) <= 61
    assert seconds_of(structs.replace(ticket, exp=0.0)) == 1


def test_one_key_makes_one_vfolder_in_one_place() -> None:
    """An id in two scopes of one volume is ambiguous: no path would name either of them."""
    user, group = (
        QuotaScope.parse(f"user:{UUID(int=1)}"),
        QuotaScope.parse(f"project:{UUID(int=2)}"),
    )
    places = product(("user:a", "user:b"), (user, group), ("local", "second"), ("k", "l"))
    ids = [id_of_key(*place) for place in places]
    assert len(set(ids)) == 16
    assert id_of_key("user:a", user, "local", "k") == ids[0]
    assert id_of_key("user:a", user, "local", "") != id_of_key("user:a", user, "local", "")


def test_a_stream_ends_with_the_permission() -> None:
    ended: list[bool] = []
    kept, lost, away = (EventStream(b"", lambda: ended.append(True)) for _ in range(3))
    streams = PersonStreams()

    def refuse() -> None:
        raise AccessForbidden("The grant is gone.")

    def unknown() -> None:
        raise AccessUnavailable("The policy service does not answer.")

    streams.add(kept, "user:a", lambda: None)
    streams.add(lost, "user:a", refuse)
    streams.add(away, "user:a", unknown)
    streams.look()
    assert kept.take() == (b"", False)
    assert lost.take() == (b"event: gone\ndata: {}\n\n", True)
    assert away.take() == (b"", False)
    for stream in (kept, lost, away):
        stream.close()
    assert len(ended) == 3
    streams.look()
    assert streams.count == 0


@pytest.mark.parametrize(
    "error",
    [
        AccessUnavailable("The policy service is away."),
        DeadlineExceeded("The volume hangs."),
        RedisError("The store is away."),
    ],
)
def test_a_stream_that_cannot_be_decided_ends_within_a_minute(error: Exception) -> None:
    """What decides may stay away; no permission lasts by that."""
    now, known = 0.0, True

    def decide() -> None:
        if not known:
            raise error

    stream = EventStream(b"")
    streams = PersonStreams(lambda: now)
    streams.add(stream, "user:a", decide)
    now = 1000.0
    streams.look()
    known = False
    now += LOOK_SECONDS
    streams.look()
    assert stream.take() == (b"", False), "it may be back in a moment"
    while now - 1000.0 + LOOK_SECONDS <= 60 and not stream.take()[1]:
        now += LOOK_SECONDS
        streams.look()
    assert stream.take()[1]


def test_a_long_download_ends_with_the_permission() -> None:
    streams, pace = PersonStreams(), Pace(None)

    def refuse() -> None:
        raise AccessForbidden("The grant is gone.")

    body = FileWrapper(SimpleNamespace(pace=pace), 1)
    long = Response(body, headers={"Content-Length": str(LONG_BYTES)}, direct_passthrough=True)
    short = Response(body, headers={"Content-Length": "1"}, direct_passthrough=True)
    assert open_answer(short) is None
    assert open_answer(Response(b"x")) is None
    assert open_answer(long) is pace
    streams.add(pace, "user:a", lambda: None)
    streams.look()
    assert pace.grant(5) == 5
    streams.add(pace, "user:a", refuse)
    streams.look()
    with pytest.raises(ConnectionAbortedError):
        pace.grant(5)
    pace.close()
    streams.look()
    assert streams.count == 0


def test_a_sender_stops_where_a_download_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * (4 << 20))
    pace = Pace(None)
    part = FilePart(FileIO(tmp_path / "f"), 0, 4 << 20, pace)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        ours, _ = listener.accept()
        conn = SimpleNamespace(sock=ours)
        with ours:
            stream = new_stream(conn, FileWrapper(part), keepalive=True)
            assert stream.wait() == 0
            assert not stream.send()
            pace.cut_off()
            assert stream.wait() == 0
            with pytest.raises(ConnectionAbortedError):
                stream.send()
            stream.abandon()
            stream.close()
    assert pace.closed


def test_a_long_upload_ends_with_the_permission() -> None:
    now, asked = 1000.0, 0
    error: StorageError | None = None

    def decide() -> None:
        nonlocal asked
        asked += 1
        if error is not None:
            raise error

    class Body:
        def into(self, view: memoryview) -> int:
            return len(view)

    body = DecidedBody(Body(), KeptDecision(decide, lambda: now))
    view = memoryview(bytearray(5))
    assert [body.into(view) for _ in range(3)] == [5, 5, 5]
    assert asked == 0, "it was decided when the request began"
    now += LOOK_SECONDS
    assert [body.into(view) for _ in range(3)] == [5, 5, 5]
    assert asked == 1
    error = AccessUnavailable("The policy service is away.")
    now += LOOK_SECONDS
    assert body.into(view) == 5
    now += LOOK_SECONDS
    with pytest.raises(AccessUnavailable):
        body.into(view)
    error = AccessForbidden("The grant is gone.")
    now += LOOK_SECONDS
    with pytest.raises(AccessForbidden):
        body.into(view)


def test_one_subject_leaves_streams_to_others() -> None:
    streams = PersonStreams()
    opened = [EventStream(b"") for _ in range(SUBJECT_STREAMS_MAX)]
    for stream in opened:
        streams.check("user:a")
        streams.add(stream, "user:a", lambda: None)
    with pytest.raises(Unavailable):
        streams.check("user:a")
    streams.check("user:b")
    opened[0].close()
    streams.check("user:a")


def test_a_defect_in_one_decision_ends_one_stream() -> None:
    streams = PersonStreams()
    broken, other = EventStream(b""), EventStream(b"")

    def fail() -> None:
        raise KeyError("requester")

    def refuse() -> None:
        raise AccessForbidden("The grant is gone.")

    streams.add(broken, "user:a", fail)
    streams.add(other, "user:a", refuse)
    streams.look()
    assert [stream.take()[1] for stream in (broken, other)] == [True, True]


def test_lines_of_openings_are_written_in_order_and_not_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openings, "WAITING_MAX", 3)
    begun, goes_on, written = threading.Event(), threading.Event(), []

    def write(*entries: object) -> None:
        if entries == (0,):
            begun.set()
            goes_on.wait(60)
        written.append(entries)

    lines = Openings(write)
    lines.add(lambda: 0)
    assert begun.wait(60)
    for number in range(1, 4):
        lines.add(partial(int, number))
    lines.add(lambda: "one too many")
    assert written == [("one too many",)]
    goes_on.set()
    wait_for(lambda: written[1:] == [(0,), (1, 2, 3)])


def test_in_a_busy_process_the_request_that_makes_a_batch_whole_writes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(openings, "BATCH_LINES", 3)
    monkeypatch.setattr(openings, "LOOK_SECONDS", 3600.0)
    written: list[tuple[object, ...]] = []
    lines = Openings(lambda *entries: written.append(entries))
    for number in range(9):
        lines.add(partial(int, number))
    assert written == [(0, 1, 2, 3), (4, 5, 6, 7)]
    lines.drain()
    assert written[2:] == [(8,)]


def test_a_line_that_cannot_be_written_ends_no_other() -> None:
    written: list[object] = []

    def write(*entries: object) -> None:
        if 0 in entries:
            raise ValueError("a defect")
        written.extend(entries)

    def unknown() -> object:
        raise KeyError("via")

    lines = Openings(write)
    for make in (lambda: 0, lambda: 1, unknown, lambda: 2):
        lines.add(make)
    wait_for(lambda: written == [1, 2], 60)
    lines.add(lambda: 3)
    wait_for(lambda: written == [1, 2, 3], 60)
