"""A terminal that keeps what programs write to it."""

import os
import pty
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CLOSE_SECONDS = 60.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """What was written so far; `descriptor` is the output of a program, until `hang_up`."""

    def __init__(self) -> None:
        self._master, self.descriptor = pty.openpty()
        self.seen = bytearray()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        with suppress(OSError):  # every program has closed it
            while data := os.read(self._master, 65536):
                self.seen.extend(data)

    @property
    def text(self) -> str:
        """What was written, without colours and moves of the cursor."""
        return _ESCAPES.sub("", self.seen.decode()).replace("\r\n", "\n")

    def hang_up(self) -> None:
        """Close our end; programs that hold theirs go on."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def close(self) -> None:
        """Read what is left, once every program has closed its end."""
        self.hang_up()
        self._reading.join(CLOSE_SECONDS)
        os.close(self._master)


@contextmanager
def terminal() -> Iterator[Terminal]:
    """A terminal; at the end of the block, all that programs wrote has been read."""
    made = Terminal()
    try:
        yield made
    finally:
        made.close()
