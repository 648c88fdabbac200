"""Heads, bodies and silence: what a caller does not finish costs the others nothing."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.doors import AUTH, RunningDoor, running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

#: More than a process has threads of any kind here.
CALLERS = 60
DOORS = {"manager": "/livez", "client": "/", "internal": "/livez"}
HALF_HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "
HALF_BODY = b"POST /folder/create HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n%b\r\nx"
SECRET = "".join(f"{name}: {value}\r\n" for name, value in AUTH.items()).encode()
#: A caller that the door answers: one request, and what came until the end of the connection.
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
FEW = "[vfolder.doors]\nprocesses = 1\nthreads = 4\n"


def connected(door: RunningDoor, sent: bytes = b"") -> socket.socket:
    address = urlsplit(door.url)
    connection = socket.create_connection((address.hostname, address.port), 60)
    connection.sendall(sent)
    return connection


@contextmanager
def callers(door: RunningDoor, sent: bytes, count: int = CALLERS) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connected(door, sent)) for _ in range(count)]


def all_of(connection: socket.socket) -> bytes:
    """What the door sends until it closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


def exchanged(door: RunningDoor, sent: bytes, *, half_close: bool = False) -> bytes:
    with connected(door, sent) as connection:
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return all_of(connection)


def problem(answer: bytes) -> tuple[str, dict[str, str], dict[str, object]]:
    """The status, the headers and the document of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert headers["content-type"] == "application/problem+json", answer
    return first.split(" ")[1], headers, json.loads(body)


def answered(door: RunningDoor, path: str) -> None:
    """Every one of some requests is answered, on connections of their own."""
    for _ in range(5):
        reply = requests.get(door.url + path, headers={"Connection": "close", **AUTH}, timeout=60)
        assert reply.status_code == 200


@pytest.mark.parametrize("name", DOORS)
def test_probes_are_answered_beside_what_is_never_finished(
    name: str, tmp_path: Path, valkey: Valkey
) -> None:
    more = f"{FEW}head-seconds = 600\n"
    with running_door(name, settings_in(tmp_path, valkey.url, more)) as door:
        kinds = {
            "half heads": HALF_HEAD,
            "silent": b"",
            "half heads after a request": GET.replace(b"Connection: close\r\n", b"") + HALF_HEAD,
            "half bodies": HALF_BODY % b"",
            "half bodies of known callers": HALF_BODY % SECRET,
        }
        with ExitStack() as stack:
            for sent in kinds.values():
                stack.enter_context(callers(door, sent))
                answered(door, DOORS[name])
            if name == "internal":
                answered(door, "/metrics")


@pytest.mark.parametrize("name", DOORS)
def test_a_slow_head_is_refused_and_silence_is_closed(
    name: str, tmp_path: Path, valkey: Valkey
) -> None:
    more = f"{FEW}head-seconds = 0.5\n"
    with running_door(name, settings_in(tmp_path, valkey.url, more)) as door:
        with callers(door, b"", 3) as silent, callers(door, HALF_HEAD, 3) as half:
            assert [all_of(one) for one in silent] == [b""] * 3
            answers = [all_of(one) for one in half]
        for answer in answers:
            status, headers, document = problem(answer)
            assert (status, document["status"], document["retriable"]) == ("408", 408, True)
            assert headers["connection"] == "close"
        with connected(door, HALF_HEAD) as trickling:
            stop = time.monotonic() + 60
            with suppress(OSError):  # the door closes it although bytes come
                while time.monotonic() < stop:
                    trickling.sendall(b"a")
                    time.sleep(0.05)
            assert time.monotonic() < stop
        answered(door, DOORS[name])


def test_a_slow_body_is_refused(tmp_path: Path, valkey: Valkey) -> None:
    more = f"{FEW}body-seconds = 0.5\n"
    with running_door("manager", settings_in(tmp_path, valkey.url, more)) as door:
        with callers(door, HALF_BODY % SECRET, 3) as half:
            answers = [problem(all_of(one)) for one in half]
        for status, headers, document in answers:
            assert (status, document["retriable"]) == ("408", True)
            assert headers["connection"] == "close"


def test_half_heads_of_one_address_are_bounded(tmp_path: Path, valkey: Valkey) -> None:
    more = f"{FEW}waiting-per-address = 5\nhead-seconds = 600\n"
    with (
        running_door("manager", settings_in(tmp_path, valkey.url, more)) as door,
        callers(door, HALF_HEAD, 8) as half,
    ):
        assert [all_of(one) for one in half[:3]] == [b""] * 3, "the oldest are closed"
        half[7].sendall(b"\r\n\r\n")
        assert half[7].recv(12) == b"HTTP/1.1 200"
        answered(door, "/livez")


def test_a_new_caller_is_served_beside_many_that_do_not_close(
    tmp_path: Path, valkey: Valkey
) -> None:
    more = f"{FEW}waiting-per-address = 20\n"
    idle = GET.replace(b"Connection: close\r\n", b"")
    with running_door("internal", settings_in(tmp_path, valkey.url, more)) as door:
        for sent in (HALF_BODY % b"", b"GET\r\n\r\n", idle):
            with callers(door, sent) as others:
                for one in others:
                    with suppress(ConnectionResetError):
                        one.recv(1)  # its answer, or its end: it is one of many
                answered(door, "/livez")


@pytest.fixture(scope="module")
def client_door(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[RunningDoor]:
    settings = settings_in(tmp_path_factory.mktemp("client"), valkey.url, FEW)
    with running_door("client", settings) as door:
        yield door


@pytest.fixture(scope="module")
def manager_door(tmp_path_factory: pytest.TempPathFactory, valkey: Valkey) -> Iterator[RunningDoor]:
    settings = settings_in(tmp_path_factory.mktemp("manager"), valkey.url, FEW)
    with running_door("manager", settings) as door:
        yield door


#: What is no request, and the status of its refusal.
REFUSED = {
    "line": (b"GET\r\n\r\n", "400"),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\n\n", "400"),
    "version": (b"GET / HTTP/9.9\r\n\r\n", "400"),
    "long line": (b"GET /download?token=" + b"a" * 9000 + b" HTTP/1.1\r\n", "414"),
    "long head": (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000, "431"),
    "many fields": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: x\r\n" * 200 + b"\r\n", "431"),
    "name": (b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n", "400"),
    "length": (b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"),
    "digits": (b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n", "400"),
    "long length": (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "400"),
    "lengths": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "400",
    ),
    "coding": (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n", "501"),
    "coding below": (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"),
    "expectation": (b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n", "417"),
}
ORIGIN = b"\r\nOrigin: https://ui.example\r\n"


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_request_is_a_problem_that_a_page_can_read(
    sent: bytes, status: str, client_door: RunningDoor
) -> None:
    first, headers, document = problem(exchanged(client_door, sent, half_close=True))
    assert (first, str(document["status"])) == (status, status)
    assert {"type", "title", "detail", "msg", "error_code", "request_id"} <= set(document)
    assert headers["x-request-id"] == document["request_id"]
    assert headers["access-control-allow-origin"] == "*"
    if sent.count(b"\r\n") > 1 and status != "414":
        asked = exchanged(client_door, sent.replace(b"\r\n", ORIGIN, 1), half_close=True)
        _, headers, _ = problem(asked)
        assert headers["access-control-allow-origin"] in ("*", "https://ui.example")
    answered(client_door, "/")


def test_an_early_end_of_a_head_is_a_problem(client_door: RunningDoor) -> None:
    status, _, _ = problem(exchanged(client_door, HALF_HEAD, half_close=True))
    assert status == "400"
    assert exchanged(client_door, b"", half_close=True) == b""


def test_no_page_reads_refusals_of_the_manager_door(manager_door: RunningDoor) -> None:
    _, headers, _ = problem(exchanged(manager_door, b"GET\r\n\r\n"))
    assert not [name for name in headers if name.startswith("access-control")]


CHUNKS = [b"-1\r\n\r\n", b"0x5\r\nhello\r\n", b"zz\r\n", b"5\nhello\r\n", b"5\r\nhelloXX0\r\n\r\n"]
CHUNKS += [b"5;\x00\r\nhello\r\n0\r\n\r\n", b"0\r\nBad Name: x\r\n\r\n", b"5\r\nhe", b"5", b""]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_malformed_and_cut_chunks_are_problems(chunk: bytes, manager_door: RunningDoor) -> None:
    head = b"POST /folder/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + SECRET
    status, headers, document = problem(
        exchanged(manager_door, head + b"\r\n" + chunk, half_close=True)
    )
    assert (status, document["error_code"]) == ("400", "api_parsing_bad-request")
    assert headers["connection"] == "close"


@pytest.mark.parametrize("body", [b"", b'{"volume"', b"{}  "])
def test_a_body_that_ends_early_is_no_shorter_body(body: bytes, manager_door: RunningDoor) -> None:
    head = b"POST /folder/create HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n" + SECRET
    status, _, document = problem(exchanged(manager_door, head + b"\r\n" + body, half_close=True))
    assert status == "400"
    assert "ended" in str(document["detail"])


def test_a_body_is_asked_for_only_by_a_route_that_reads_it(manager_door: RunningDoor) -> None:
    head = b"POST /folder/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    head += b"Expect: 100-continue\r\n"
    with connected(manager_door, head + b"\r\n") as caller:
        refused = all_of(caller)  # the door closes, because the body may come or not
    assert refused.startswith(b"HTTP/1.1 403 ")
    assert b"\r\nConnection: close\r\n" in refused
    with connected(manager_door, head + SECRET + b"\r\n") as caller:
        assert caller.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.sendall(b"{}")
        assert caller.recv(12) == b"HTTP/1.1 400"
    with connected(manager_door, head + SECRET + b"\r\n{}") as caller:
        assert caller.recv(12) == b"HTTP/1.1 400", "the body is there already"


def test_a_line_about_a_refused_request_has_nothing_of_another(
    tmp_path: Path, valkey: Valkey
) -> None:
    settings = settings_in(tmp_path, valkey.url, FEW)
    token = b"GET /download?token=geheim\n HTTP/1.1\r\n\r\n"
    with running_door("client", settings) as door:
        for _ in range(8):  # each thread has served one
            door.send("GET", "/download?token=x", headers={"X-Request-ID": "of-another"})
        for sent in (token, *(sent for sent, _ in REFUSED.values())):
            exchanged(door, sent, half_close=True)
    lines = [json.loads(line) for line in (tmp_path / "client.log").read_text().splitlines()]
    about = [line for line in lines if line["event"] == "request refused"]
    assert len(about) == len(REFUSED) + 1
    ids = {line["request_id"] for line in about}
    assert len(ids) == len(about)
    assert "of-another" not in ids
    assert not any("geheim" in str(line) for line in lines)


def test_small_rests_of_bodies_are_read_without_a_thread(manager_door: RunningDoor) -> None:
    """The connection serves its next request when the rest of an unread body has come."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
    with connected(manager_door, head + b"\r\n01234") as caller:
        assert caller.recv(12) == b"HTTP/1.1 403"
        caller.sendall(b"56789" + GET.replace(b"GET / ", b"GET /livez "))
        assert b"HTTP/1.1 200" in all_of(caller)


def test_one_byte_a_packet(manager_door: RunningDoor) -> None:
    with connected(manager_door) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"\r\n" + GET:
            caller.sendall(bytes([byte]))
        assert all_of(caller).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_order(manager_door: RunningDoor) -> None:
    ask = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchanged(manager_door, b"".join(ask % p for p in (b"/livez", b"/x", b"/")) + GET)
    assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"200", b"403", b"200", b"200"]


def test_half_heads_do_not_delay_the_end(tmp_path: Path, valkey: Valkey) -> None:
    more = f"{FEW}head-seconds = 600\ngrace-seconds = 3600\n"
    with (
        running_door("internal", settings_in(tmp_path, valkey.url, more)) as door,
        callers(door, HALF_HEAD),
        callers(door, b""),
    ):
        answered(door, "/livez")
        door.process.terminate()
        assert door.process.wait(timeout=120) == 0


def test_every_connection_leaves(manager_door: RunningDoor) -> None:
    """Descriptors come back after every way in which a connection ends."""
    import psutil  # noqa: PLC0415 - only here

    (worker,) = psutil.Process(manager_door.process.pid).children()
    answered(manager_door, "/livez")
    before = worker.num_fds()
    ways: list[Callable[[], object]] = [
        lambda: exchanged(manager_door, GET),
        lambda: exchanged(manager_door, HALF_HEAD, half_close=True),
        lambda: exchanged(manager_door, b"GET\r\n\r\n"),
        lambda: connected(manager_door, HALF_HEAD).close(),
        lambda: connected(manager_door).close(),
    ]
    for way in ways * 5:
        way()
    wait_for(lambda: worker.num_fds() <= before)
