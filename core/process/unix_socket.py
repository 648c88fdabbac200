"""Addresses of Unix sockets, which may be longer than the kernel takes (unix(7): 108 bytes)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unix_address(path: Path) -> Iterator[str]:
    """Return a short address of a socket, to bind it or to connect to it within the block.

    Raises:
        OSError: its directory cannot be opened.
    """
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
