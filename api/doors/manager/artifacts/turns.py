"""How many requests of a process may use one object storage at once.

Each holds a thread of the door until the storage has answered: the threads of a storage that hangs
would be all of them. A volume on a file system has `api/volumes/deadlines.py` instead, but an
upload or a download may take as long as its bytes do.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from api.routes import current_door
from backends.systems.s3 import ObjectStorageUnavailable

#: The threads of a door that one object storage may hold: one of so many.
SHARE = 4

_lock = threading.Lock()
_held: Counter[str] = Counter()


@contextmanager
def turn(storage: str) -> Iterator[None]:
    """Hold one of the turns of an object storage during the block.

    Raises:
        ObjectStorageUnavailable: all are taken; nothing was sent to the storage.
    """
    most = max(1, current_door().settings.vfolder.doors.threads // SHARE)
    with _lock:
        if _held[storage] >= most:
            raise ObjectStorageUnavailable(
                f"{most} requests wait for this object storage already; try again later."
            )
        _held[storage] += 1
    try:
        yield
    finally:
        with _lock:
            _held[storage] -= 1
