"""A process that is killed before one of its calls that change a disk or the store."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from redis.connection import AbstractConnection

from backends.fs import linux

#: What changes a disk. An `os.open` counts where it may make a file.
CALLS = (
    *("write", "pwrite", "fsync", "fdatasync", "rename", "replace", "link", "symlink"),
    *("unlink", "mkdir", "rmdir", "ftruncate", "fchmod"),
)
LINUX_CALLS = ("rename_noreplace", "rename_exchange")
#: Commands that change nothing in the store, and those of a new connection.
READS = frozenset(
    b"GET MGET HGET HMGET HGETALL EXISTS SMEMBERS ZRANGE ZRANGEBYSCORE PING"
    b" HELLO AUTH SELECT CLIENT".split()
)
#: Threads whose work is not part of the change.
OTHERS = ("key-uses", "access")
_write = os.write
_ANSWER_BYTES = 1 << 16


class Deaths:
    """Kills this process before the call of a number, the first is 1; made in a child."""

    def __init__(self, number: int) -> None:
        self._left = number
        for name in CALLS:
            setattr(os, name, self._counted(getattr(os, name)))
        for name in LINUX_CALLS:
            setattr(linux, name, self._counted(getattr(linux, name)))
        real_open = os.open

        def opened(path: Any, flags: int, *arguments: Any, **more: Any) -> int:
            if flags & os.O_CREAT:
                self.step()
            return real_open(path, flags, *arguments, **more)

        setattr(os, "open", opened)  # noqa: B010 - as the calls above
        send = AbstractConnection.send_packed_command

        def sent(connection: Any, command: Any, *arguments: Any, **more: Any) -> Any:
            text = command if isinstance(command, bytes) else b"".join(command)
            if text.split(b"\r\n", 3)[2] not in READS:  # the name, in the protocol of Redis
                self.step()
            return send(connection, command, *arguments, **more)

        setattr(AbstractConnection, "send_packed_command", sent)  # noqa: B010

    def step(self) -> None:
        """Die, where this is the step."""
        if threading.current_thread().name.startswith(OTHERS):
            return
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            self.step()
            return real(*arguments, **more)

        return counted


def killed_at(number: int, prepare: Callable[[], object], act: Callable[[], object]) -> str | None:
    """Do something in a child that is killed before its call of a number; None when it was.

    Returns:
        What the act returned, as text. The end of the act is a step, too: its answer is lost then.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            prepare()
            deaths = Deaths(number)
            text = str(act())
            deaths.step()
            _write(writer, text.encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001 - shown, and its status is that of a failure
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    text = os.read(reader, _ANSWER_BYTES).decode()
    os.close(reader)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        return None
    assert os.waitstatus_to_exitcode(status) == 0, "see its error output"
    return text
