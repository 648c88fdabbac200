"""One request and its answer on a connection of urllib3.

urllib3 makes, checks and keeps the connections (TLS, timeouts, keep-alive). Its requests and
answers, with those of http.client below, cost more than half of the price of a small object:
headers go through the parser of e-mails, and head and body are sent apart. Here both are one call
to the kernel. The bytes of big objects pass through one buffer, without the interpreter's lock.

Only the plain form of an answer is read: HTTP/1.1 with a length (RFC 9112 §6.2). `NotPlain` says
that a server answers in another one.

Read at urllib3 2.8: `HTTPConnectionPool._get_conn`, `_put_conn`, `timeout`; a connection's
`timeout`, `connect`, `sock`, `close`.
"""

import io
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

#: The longest head of an answer (bytes).
HEAD_BYTES_MAX = 64 * 1024
#: Bytes of the first read: the head, and all of a small object.
FIRST_BYTES = 64 * 1024
#: Bytes of a file that are read and sent at once.
SENT_BYTES = 256 * 1024
_END = b"\r\n\r\n"


class NotPlain(OSError):
    """The server does not answer as an HTTP/1.1 server with a length."""


class Exchange:
    """An answer whose body is open. Its connection is used again when the body has been read."""

    def __init__(self, pool: Any, connection: Any) -> None:  # noqa: ANN401 - urllib3 has no public types of these
        self._pool, self._connection = pool, connection
        self.status = 0
        #: By their names in small letters.
        self.headers: dict[str, str] = {}
        #: Bytes of the body that have arrived, and how many have to be read.
        self._arrived = b""
        self._left = 0
        self._is_kept = True

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes of the body, fewer at its end; without a size all.

        Raises:
            OSError: the connection broke.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        found = self._arrived[:wanted]
        self._arrived = self._arrived[len(found) :]
        if len(found) < wanted:
            found += self._received(wanted - len(found))
        self._left -= len(found)
        if not self._left:
            self._release()
        return found

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer with what has arrived, and return the number of bytes; 0 at the end.

        Raises:
            OSError: the connection broke.
        """
        view = buffer[: self._left]
        if self._arrived:
            got = min(len(view), len(self._arrived))
            view[:got] = self._arrived[:got]
            self._arrived = self._arrived[got:]
        else:
            got = self._received_into(view) if view else 0
        self._left -= got
        if not self._left:
            self._release()
        return got

    def _received(self, size: int) -> bytes:
        piece, at = memoryview(bytearray(size)), 0
        while at < size:
            at += self._received_into(piece[at:])
        return bytes(piece)

    def _received_into(self, view: memoryview) -> int:
        try:
            got: int = self._connection.sock.recv_into(view)
            if not got:
                raise ConnectionResetError("the answer ends too early")
        except OSError:
            self.close()
            raise
        return got

    def drain_conn(self) -> None:
        """Read the rest of the body, so that the connection is used again; a break is no error."""
        with suppress(OSError):
            while self._left:
                self.read(FIRST_BYTES)

    def close(self) -> None:
        """End the answer; the connection is closed where bytes are left."""
        if self._connection is not None:
            self._is_kept = False
            self._release()

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if not self._is_kept:
            connection.close()
        self._pool._put_conn(connection)  # noqa: SLF001 - see above

    def begin(self, head: bytes, body: bytes | io.RawIOBase) -> None:
        """Send a request, and read the head of its answer.

        Raises:
            NotPlain: it has another form.
            OSError: the connection broke.
        """
        if isinstance(body, bytes):
            self._connection.sock.sendall(head + body)
        else:
            self._connection.sock.sendall(head)
            _send_file(self._connection.sock, body)
        found = b""
        while (end := found.find(_END)) < 0:
            piece = self._connection.sock.recv(FIRST_BYTES)
            found += piece
            if not piece or len(found) > HEAD_BYTES_MAX:
                raise ConnectionResetError("no complete answer")
        self._read_head(found[:end].decode("latin-1"))
        self._arrived = found[end + len(_END) :]
        if len(self._arrived) > self._left:
            raise NotPlain("bytes after the answer")
        if not self._left:
            self._release()

    def _read_head(self, head: str) -> None:
        status, *lines = head.split("\r\n")
        version, code, *_ = [*status.split(" ", 2), ""]
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        length = self.headers.get("content-length", "")
        is_plain = length.isascii() and length.isdigit() and code.isascii() and code.isdigit()
        if version != "HTTP/1.1" or not is_plain or "transfer-encoding" in self.headers:
            raise NotPlain("no length")
        self.status, self._left = int(code), int(length)
        self._is_kept = self.headers.get("connection", "").lower() != "close"


def _send_file(sock: Any, body: io.RawIOBase) -> None:  # noqa: ANN401 - a socket, or one with TLS
    body.seek(0)
    buffer = memoryview(bytearray(SENT_BYTES))
    while got := body.readinto(buffer):
        sock.sendall(buffer[:got])


def exchanged(
    pool: Any,  # noqa: ANN401 - see above
    head: str,
    headers: Mapping[str, str],
    body: bytes | io.RawIOBase,
) -> Exchange:
    """Send a request on a connection of a pool; return its answer, whose body is open.

    `head` is the method and the target. A body that is a file is sent from its begin to its end.

    Raises:
        NotPlain, OSError: there is no answer that can be used.
        ValueError: a header cannot be sent.
        HTTPError: urllib3 cannot connect.
    """
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise ValueError("a header has a character that none can have")
    lines = [f"{head} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    request = "\r\n".join([*lines, "", ""]).encode("ascii")
    connection = pool._get_conn()  # noqa: SLF001 - see above
    answer = Exchange(pool, connection)
    try:
        if connection.sock is None:
            connection.timeout = pool.timeout.connect_timeout
            connection.connect()
        connection.sock.settimeout(pool.timeout.read_timeout)
        answer.begin(request, body)
    except BaseException:
        with suppress(OSError):
            answer.close()
        raise
    return answer
