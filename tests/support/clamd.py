"""A stand-in of clamd(8): the commands INSTREAM and VERSION on TCP, and one signature."""

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: A file with this text is infected.
SIGNATURE = b"X5O!P%@AP-STANDARD-ANTIVIRUS-TEST-FILE"
VERSION = "ClamAV 1.4.3/27800"


class StandInClamd(socketserver.ThreadingTCPServer):
    """Strict: another command or a broken frame gets no answer."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        #: The content of each stream that was scanned.
        self.scanned: list[bytes] = []
        #: Streams of so many bytes are no longer answered, as over clamd's own limit.
        self.limit = 1 << 30
        #: Seconds before each block is taken; what waits in the kernel is little.
        self.slow_seconds = 0.0
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])


class _Handler(socketserver.StreamRequestHandler):
    server: StandInClamd

    def handle(self) -> None:
        command = b""
        while not command.endswith(b"\0"):
            command += self.rfile.read(1)
        if command == b"zVERSION\0":
            self.wfile.write(VERSION.encode() + b"\0")
            return
        assert command == b"zINSTREAM\0", command
        data = self._stream()
        self.server.scanned.append(data)
        if len(data) > self.server.limit:
            self.wfile.write(b"INSTREAM size limit exceeded. ERROR\0")
        elif SIGNATURE in data:
            self.wfile.write(b"stream: Eicar-Test-Signature FOUND\0")
        else:
            self.wfile.write(b"stream: OK\0")

    def _stream(self) -> bytes:
        found = b""
        while True:
            time.sleep(self.server.slow_seconds)
            frame = self.rfile.read(4)
            if len(frame) < 4:  # the client has given up
                return found
            (size,) = struct.unpack("!L", frame)
            if size == 0:
                return found
            found += self.rfile.read(size)


@contextmanager
def running_clamd() -> Iterator[StandInClamd]:
    """A clamd until the end of the block."""
    with StandInClamd() as clamd:
        threading.Thread(target=clamd.serve_forever, daemon=True).start()
        try:
            yield clamd
        finally:
            clamd.slow_seconds = 0.0
            clamd.shutdown()
