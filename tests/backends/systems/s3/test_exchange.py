"""One request and its answer on a kept connection: every form of an answer, and every break."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from urllib3 import HTTPConnectionPool, Timeout

from backends.systems.s3 import Bucket, S3Endpoint
from backends.systems.s3.exchange import HEAD_BYTES_MAX, NotPlain, exchanged

OK = b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 4\r\n\r\ndata'


class Scripted:
    """A server that answers each request with the next of some pieces, and then may hang up."""

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = []
        self.hangs_up = False
        #: A request has at least so many bytes.
        self.request_bytes = 1
        self.connections = 0
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client:
            while request := client.recv(1 << 16):
                while len(request) < self.request_bytes:
                    request += client.recv(1 << 16)
                self.requests.append(request)
                for piece in self.answers.pop(0):
                    client.sendall(piece)
                if self.hangs_up:
                    return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def server() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def pool(server: Scripted) -> Iterator[HTTPConnectionPool]:
    with HTTPConnectionPool("127.0.0.1", server.port, timeout=Timeout(connect=10, read=10)) as pool:
        yield pool


def get(pool: HTTPConnectionPool) -> tuple[int, dict[str, str], bytes]:
    answer = exchanged(pool, "GET /b/k", {"host": "h"}, b"")
    data = answer.read(2) + answer.read(100)
    answer.close()
    return answer.status, answer.headers, data


def test_a_connection_is_used_again(server: Scripted, pool: HTTPConnectionPool) -> None:
    server.answers = [[OK], [OK[:9], OK[9:50], OK[50:-2], OK[-2:]]]
    for _ in range(2):
        assert get(pool) == (200, {"etag": '"1"', "content-length": "4"}, b"data")
    assert server.connections == 1
    assert server.requests == [b"GET /b/k HTTP/1.1\r\nhost: h\r\n\r\n"] * 2


def test_head_and_body_are_sent_at_once(server: Scripted, pool: HTTPConnectionPool) -> None:
    server.answers = [[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]]
    answer = exchanged(pool, "PUT /b/k", {"content-length": "4"}, b"data")
    assert (answer.status, answer.read(10)) == (200, b"")
    assert server.requests == [b"PUT /b/k HTTP/1.1\r\ncontent-length: 4\r\n\r\ndata"]


def test_a_file_is_sent_from_its_begin(server: Scripted, pool: HTTPConnectionPool) -> None:
    sent = b"PUT /b/k HTTP/1.1\r\ncontent-length: 4\r\n\r\ndata"
    server.answers, server.request_bytes = [[OK]], len(sent)
    file = BytesIO(b"data")
    file.seek(2)
    answer = exchanged(pool, "PUT /b/k", {"content-length": "4"}, file)  # type: ignore[arg-type]
    assert (answer.status, answer.read()) == (200, b"data")
    assert server.requests == [sent]


def test_a_buffer_is_filled_with_what_arrives(server: Scripted, pool: HTTPConnectionPool) -> None:
    server.answers = [[OK[:-3], OK[-3:-2], OK[-2:]], [OK[:-2]]]
    buffer, found = memoryview(bytearray(3)), b""
    answer = exchanged(pool, "GET /b/k", {}, b"")
    while got := answer.readinto(buffer):
        found += buffer[:got]
    assert (found, answer.readinto(buffer), server.connections) == (b"data", 0, 1)
    server.hangs_up = True
    answer = exchanged(pool, "GET /b/k", {}, b"")
    assert answer.readinto(buffer) == 2
    with pytest.raises(ConnectionResetError):
        answer.readinto(buffer)


def test_a_connection_that_the_server_ends_is_not(
    server: Scripted, pool: HTTPConnectionPool
) -> None:
    server.answers = [[OK.replace(b"\r\n", b"\r\nConnection: Close\r\n", 1)], [OK]]
    assert get(pool)[2] == get(pool)[2] == b"data"
    assert server.connections == 2


def test_an_answer_that_is_left_early_closes_its_connection(
    server: Scripted, pool: HTTPConnectionPool
) -> None:
    server.answers = [[OK], [OK], [OK]]
    exchanged(pool, "GET /b/k", {}, b"").close()
    exchanged(pool, "GET /b/k", {}, b"").drain_conn()
    assert get(pool)[2] == b"data"
    assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\ndata",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ndata",
        b"HTTP/1.1\r\nContent-Length: 4\r\n\r\ndata",
        b"\r\n\r\n",
        OK + b"more",
    ],
)
def test_other_forms_are_refused(server: Scripted, pool: HTTPConnectionPool, answer: bytes) -> None:
    server.answers = [[answer], [OK]]
    with pytest.raises(NotPlain):
        exchanged(pool, "GET /b/k", {}, b"")
    assert get(pool)[2] == b"data"
    assert server.connections == 2


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nConte", b"a" * (HEAD_BYTES_MAX + 1)])
def test_no_complete_head(server: Scripted, pool: HTTPConnectionPool, answer: bytes) -> None:
    server.answers, server.hangs_up = [[answer], [OK]], True
    with pytest.raises(ConnectionResetError):
        exchanged(pool, "GET /b/k", {}, b"")
    assert get(pool)[2] == b"data"


def test_a_body_that_ends_too_early(server: Scripted, pool: HTTPConnectionPool) -> None:
    server.answers, server.hangs_up = [[OK[:-2]], [OK]], True
    with pytest.raises(ConnectionResetError):
        get(pool)
    assert get(pool)[2] == b"data"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "ü", "\x00"])
def test_no_value_makes_another_header(
    server: Scripted, pool: HTTPConnectionPool, value: str
) -> None:
    with pytest.raises(ValueError, match="a header has a character"):
        exchanged(pool, "GET /b/k", {"if-match": value}, b"")
    assert not server.connections


class ChunkedServer(ThreadingHTTPServer):
    """A server of objects that never says their length."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Chunked)
        #: For each request, whether it was boto3's.
        self.of_boto3: list[bool] = []


class Chunked(BaseHTTPRequestHandler):
    """Its answers."""

    protocol_version = "HTTP/1.1"
    server: ChunkedServer

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self.server.of_boto3.append("amz-sdk-invocation-id" in self.headers)
        self.send_response(200)
        for name, value in {"ETag": '"1"', "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.send_header("Last-Modified", "Sun, 01 Nov 2026 12:00:00 GMT")
        self.end_headers()
        self.wfile.write(b"4\r\ndata\r\n0\r\n\r\n")


def test_a_server_of_another_form_is_asked_in_the_long_way_from_then_on() -> None:
    with ChunkedServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        bucket = Bucket(S3Endpoint(url, access_key="k", secret_key="s"), "b")
        for _ in range(2):
            answer = bucket._calls.once("get_object", Bucket="b", Key="k")
            assert answer["Body"].read() == b"data"
        server.shutdown()
    # Each time once by itself, without use for an object of no length, and then by boto3.
    assert server.of_boto3 == [False, True] * 2
