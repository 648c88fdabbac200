"""A TCP cable between a client and a server on this machine, which a test can cut and mend.

While it is cut, no bytes pass in either direction, and none are lost: they wait, as in TCP's own
buffers when packets vanish. New connections are accepted and get no answer.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES = 65_536
#: SO_LINGER with no time to linger: closing resets the connection.
RESET = struct.pack("ii", 1, 0)


class Cable:
    """Listens on a port of its own and passes everything to a port of 127.0.0.1."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._whole.set()
        self._writers: set[asyncio.StreamWriter] = set()
        #: Number of accepted connections.
        self.connections = 0
        #: How many bytes clients have sent while it was cut.
        self.waiting_bytes = 0
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(60)

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        head = b""
        if not self._whole.is_set():
            head = await reader.read(CHUNK_BYTES)
            self.waiting_bytes += len(head)
            await self._whole.wait()
        try:
            there, away = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            self._reset(writer)
            return
        self._writers.add(away)
        away.write(head)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pump(reader, away))
                ways.create_task(self._pump(there, writer))
        except* OSError:  # one end was reset, as a killed server's is: so is the other
            self._reset(writer)
            self._reset(away)
        for each in (writer, away):
            self._writers.discard(each)
            each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        found = writer.get_extra_info("socket")
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()

    def cut(self) -> None:
        """Cut: no bytes pass."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def mend(self) -> None:
        """Mend: all bytes pass, the waiting ones first."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def reset(self) -> None:
        """Reset every connection, as a router does that forgot them."""

        async def drop() -> None:
            for writer in list(self._writers):
                self._reset(writer)

        asyncio.run_coroutine_threadsafe(drop(), self._loop).result(60)

    def close(self) -> None:
        """Reset every connection and end."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for writer in list(self._writers):
            self._reset(writer)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def laid(target_port: int) -> Iterator[Cable]:
    """A cable, until the end of the block."""
    cable = Cable(target_port)
    try:
        yield cable
    finally:
        cable.close()
