"""Answers of a hub that cannot be right, or do not end: refused by name, and never waited for."""

import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from backends.systems.registries import Hub, session
from core.errors import RegistryRefused, RegistryUnavailable
from core.settings import HuggingFaceTable

MODEL = "org/model"


class Answers(ThreadingHTTPServer):
    """A server that gives the same answer to each request."""

    daemon_threads = True
    status = 200
    body: bytes = b"[]"
    headers: Mapping[str, str] = MappingProxyType({})
    #: Seconds between the bytes of the body.
    pause = 0.0

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        if not self.server.pause:
            self.wfile.write(self.server.body)
            return
        try:
            for byte in self.server.body:
                time.sleep(self.server.pause)
                self.wfile.write(bytes([byte]))
        except OSError:  # the client has given up
            self.close_connection = True


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers(("127.0.0.1", 0), _Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def hub(answers: Answers) -> Hub:
    return Hub(HuggingFaceTable(endpoint=answers.url))


def file(**facts: Any) -> list[dict[str, Any]]:
    return [{"type": "file", "path": "a", "size": 1, "oid": "0" * 40} | facts]


FILES: list[Any] = [
    {},
    [1],
    file(path=5),
    file(size=-1),
    file(size="1"),
    file(size=None),
    file(size=1 << 63),
    file(oid=5),
    file(oid="short"),
    file(lfs="x"),
    file(lfs={"oid": ["x"], "size": 1}),
]
#: Text that is no JSON, or that only some readers take.
TEXTS = [b"", b"{", b"NaN", b"[" * 100_000, b'[{"path": "\\udc80"}]', b"\xff", b'[{"size": 1e400}]']


@pytest.mark.parametrize("body", [*(json.dumps(one).encode() for one in FILES), *TEXTS])
def test_files_that_cannot_be(hub: Hub, answers: Answers, body: bytes) -> None:
    answers.body = body
    with pytest.raises(RegistryRefused):
        hub.files(MODEL, "main")


@pytest.mark.parametrize(
    "facts", [[], "x", {}, {"id": 5}, {"id": MODEL, "author": []}, {"id": MODEL, "createdAt": 5}]
)
def test_models_that_cannot_be(hub: Hub, answers: Answers, facts: object) -> None:
    answers.body = json.dumps([facts]).encode()
    with pytest.raises(RegistryRefused):
        hub.search(None, "likes", 5, seconds=60)


@pytest.mark.parametrize("refs", [[], {"branches": 3}, {"branches": [{"name": 5}], "tags": []}])
def test_branches_that_cannot_be(hub: Hub, answers: Answers, refs: object) -> None:
    answers.body = json.dumps(refs).encode()
    with pytest.raises(RegistryRefused):
        hub.revisions(MODEL)


def test_names_that_no_route_takes_are_left_out(hub: Hub, answers: Answers) -> None:
    """The others stay: one name must not hide a whole list."""
    answers.body = json.dumps([{"id": "a/../b"}, {"id": MODEL}]).encode()
    assert [one.id for one in hub.search(None, "likes", 5, seconds=60)] == [MODEL]
    names = ["main", "../..", "a//b", "refs/pr/1"]
    branches = [{"name": name} for name in names]
    answers.body = json.dumps({"branches": branches, "tags": []}).encode()
    assert hub.revisions(MODEL) == ["main", "refs/pr/1"]


def test_a_next_page_that_is_no_address(hub: Hub, answers: Answers) -> None:
    answers.headers = {"Link": '<http://[/>; rel="next"'}
    with pytest.raises(RegistryRefused):
        hub.files(MODEL, "main")


def test_another_part_of_a_file(hub: Hub, answers: Answers) -> None:
    """Where a registry says no digest, the wrong bytes would stay."""
    answers.status, answers.body = 206, b"wrong"
    for found in ({}, {"Content-Range": "bytes 7-11/12"}, {"Content-Range": "x"}):
        answers.headers = found
        with pytest.raises(RegistryRefused):
            hub.open(MODEL, "main", "a", 5)
    answers.headers = {"Content-Range": "bytes 5-9/10"}
    with hub.open(MODEL, "main", "a", 5) as part:
        assert (part.start, b"".join(part.pieces())) == (5, b"wrong")


def test_a_readme_that_is_compressed(hub: Hub, answers: Answers) -> None:
    """Some servers compress although the request forbids it."""
    answers.body, answers.headers = gzip.compress(b"# Title"), {"Content-Encoding": "gzip"}
    assert hub.readme(MODEL, "main") == "# Title"


def test_pages_without_an_end(hub: Hub, answers: Answers) -> None:
    answers.headers = {"Link": f'<{answers.url}/api/models?page=1>; rel="next"'}
    with pytest.raises(RegistryUnavailable):
        hub.search(None, "likes", 5, seconds=0.2)


@pytest.mark.parametrize(
    "call", [lambda hub: hub.commit(MODEL, "main"), lambda hub: hub.readme(MODEL, "main")]
)
def test_an_answer_that_trickles(
    hub: Hub, answers: Answers, call: Callable[[Hub], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte is in time, so no silence ends it."""
    monkeypatch.setattr(session, "ANSWER_SECONDS", 0.3)
    answers.body, answers.pause = b" " * 100_000, 0.02
    with pytest.raises(RegistryUnavailable):
        call(hub)


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_says_when_to_call_again(
    answers: Answers, hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A short pause is kept; a long one ends the call at once."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)

    # Not `time.sleep` itself: other threads of the process sleep by it.
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=sleep))
    answers.status, answers.headers = status, {"Retry-After": "7"}
    with pytest.raises(RegistryUnavailable):
        hub.commit(MODEL, "main")
    assert pauses == [7.0, 7.0]
    answers.headers = {"Retry-After": "3600"}
    with pytest.raises(RegistryUnavailable) as raised:
        hub.commit(MODEL, "main")
    assert raised.value.facts == {"retry_after": 3600}
    assert len(pauses) == 2
