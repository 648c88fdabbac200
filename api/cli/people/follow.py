"""`vfolder cat -f`: the end of a file, and what is added to it, until it is interrupted."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from api.cli.people.calls import note

if TYPE_CHECKING:  # loading it takes longer than to print the help of a command
    from api.cli.people.remote_names import RemoteName
    from vfolder_client import VFolder

#: Seconds between two looks at a file that does not grow.
LOOK_SECONDS = 1.0
#: Most bytes of one request.
PIECE_BYTES = 1024 * 1024


def follow(
    folder: "VFolder",
    name: "RemoteName",
    tail: int | None,
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Print a file, or its last `tail` bytes, and then what is added; never returns by itself.

    A file that is shorter than what was printed was begun again: it is printed from its beginning.

    Raises:
        EntryNotFound: there is no such file, or there is none any more.
    """
    from vfolder_client.errors import PreconditionFailed, TransferBroken  # noqa: PLC0415 - see above

    size = folder.stat(name.path).size_bytes or 0
    at = 0 if tail is None else max(0, size - tail)
    while True:
        while at < size:
            try:
                data = folder.read(name.path, offset=at, size=min(PIECE_BYTES, size - at))
            except (PreconditionFailed, TransferBroken):  # it changed between look and read
                break
            if not data:
                break
            at += len(data)
            sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        wait(LOOK_SECONDS)
        size = folder.stat(name.path).size_bytes or 0
        if size < at:
            note(f"{name}: it is shorter now, and printed from its beginning")
            at = 0
