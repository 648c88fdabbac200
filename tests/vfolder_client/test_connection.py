"""Requests: what is repeated and what is not, where the key goes, what an answer means.

The door of these tests fails as its list says; a real one fails by chance only.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vfolder_client import Client, errors
from vfolder_client.connection import Connection
from vfolder_client.documents import in_query, is_safe_name, normal_path
from vfolder_client.jobs import events

Answer = tuple[int, dict[str, str], bytes]


def problem(status: int, *, retriable: bool, **headers: str) -> Answer:
    members = {"error_code": "a_b_c", "detail": "No.", "retriable": retriable}
    return status, {**headers}, json.dumps(members).encode()


OK: Answer = (200, {}, b'{"fine": true}')
CUT: Answer = (0, {}, b"")


@dataclass
class Script:
    """Answers in their order; the last one again and again. 0 cuts the connection."""

    answers: list[Answer]
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def door(*answers: Answer) -> Iterator[Script]:
    script = Script(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            given = (self.command, self.path, self.headers.get("Authorization"))
            script.requests.append(given)
            chosen = script.answers[min(len(script.requests), len(script.answers)) - 1]
            status, headers, body = chosen
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - as http.server calls them

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def connection(script: Script, patience: float = 10.0) -> Connection:
    return Connection(script.url, "the-key", patience_seconds=patience)


@pytest.mark.parametrize(
    "failure",
    [
        problem(503, retriable=True, Retry_After="0"),
        problem(429, retriable=True, Retry_After="0"),
        CUT,
    ],
)
def test_what_passes_is_repeated(failure: Answer) -> None:
    with door(failure, failure, OK) as script:
        assert connection(script).json("GET", "/v1/me") == {"fine": True}
        assert len(script.requests) == 3


def test_what_may_have_had_an_effect_is_not() -> None:
    for failure in (problem(503, retriable=True), CUT):
        with door(failure, OK) as script:
            with pytest.raises((errors.TryLater, errors.NotConnected)):
                connection(script).send("POST", "/v1/jobs/1/cancel")
            assert len(script.requests) == 1


def test_a_request_with_a_key_of_its_own_is() -> None:
    with door(CUT, OK) as script:
        headers = {"Idempotency-Key": "k"}
        assert connection(script).json("POST", "/v1/vfolders", headers=headers) == {"fine": True}


def test_what_does_not_pass_is_raised_at_once() -> None:
    with door(problem(404, retriable=False), OK) as script:
        with pytest.raises(errors.Absent):
            connection(script).send("GET", "/v1/me")
        assert len(script.requests) == 1


def test_the_pause_that_the_door_wants_is_kept() -> None:
    with door(problem(503, retriable=True, Retry_After="1"), OK) as script:
        begun = time.monotonic()
        connection(script).send("GET", "/v1/me")
        assert time.monotonic() - begun >= 1


def test_patience_ends() -> None:
    with door(problem(503, retriable=True, Retry_After="5")) as script:
        with pytest.raises(errors.TryLater):
            connection(script, patience=1).send("GET", "/v1/me")
        assert len(script.requests) == 1


def test_the_key_goes_to_the_node_that_the_door_names() -> None:
    with door(OK) as node:
        redirect: Answer = (307, {"Location": f"{node.url}/v1/content?path=a"}, b"")
        with door(redirect) as script:
            assert connection(script).json("GET", "/v1/content?path=a") == {"fine": True}
            assert node.requests == [("GET", "/v1/content?path=a", "Bearer the-key")]


def test_the_key_never_leaves_this_machine_for_plain_http() -> None:
    with door((307, {"Location": "http://storage.example/v1/me"}, b"")) as script:
        with pytest.raises(errors.NotADoor, match="without encryption"):
            connection(script).send("GET", "/v1/me")
        assert len(script.requests) == 1


def test_no_other_redirect_is_followed() -> None:
    with door(OK) as other, door((302, {"Location": other.url}, b"")) as script:
        connection(script).send("GET", "/v1/me")
        assert other.requests == []


def test_redirects_have_an_end() -> None:
    with door() as script:
        script.answers.append((307, {"Location": f"{script.url}/again"}, b""))
        with pytest.raises(errors.NotADoor):
            connection(script).send("GET", "/v1/me")


def test_a_page_of_another_server_is_no_answer() -> None:
    with door((404, {}, b"<html>")) as script, pytest.raises(errors.NotADoor):
        Client(script.url, "k").me()
    with door((200, {}, b"<html>")) as script, pytest.raises(errors.NotADoor):
        Client(script.url, "k").me()


def test_a_proxy_without_its_service_passes() -> None:
    with door((502, {"Retry-After": "0"}, b"<html>"), OK) as script:
        assert connection(script).json("GET", "/v1/me") == {"fine": True}


def test_netrc_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with door(OK) as script:
        connection(script).send("GET", "/v1/me")
        assert script.requests[0][2] == "Bearer the-key"


@pytest.mark.parametrize(
    ("values", "query"),
    [
        ({"path": "a b/ü", "limit": None}, "path=a%20b/%C3%BC"),
        ({"path": "bad\udcff"}, "path=bad%FF"),
        ({"owned": True, "limit": 5}, "owned=true&limit=5"),
        ({"path": "a&b=c#d?e%+"}, "path=a%26b%3Dc%23d%3Fe%25%2B"),
    ],
)
def test_queries_carry_any_bytes(values: dict[str, object], query: str) -> None:
    assert in_query(**values) == query


@pytest.mark.parametrize(
    ("path", "normal"), [("/a//b/", "a/b"), ("./a/.", "a"), ("", ""), ("/", ""), ("../x", "../x")]
)
def test_paths_are_below_the_vfolder(path: str, normal: str) -> None:
    assert normal_path(path) == normal


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_names_that_would_lead_elsewhere(name: str) -> None:
    assert not is_safe_name(name)


def test_events_are_read_as_they_come() -> None:
    text = b': alive\n\nid: 7\nevent: job\ndata: {"a":\ndata: 1}\n\nevent: done\r\ndata:\r\n\r\n'
    pieces = [text[at : at + 5] for at in range(0, len(text), 5)]
    assert list(events(iter(pieces))) == [("7", "job", '{"a":\n1}'), ("7", "done", "")]
