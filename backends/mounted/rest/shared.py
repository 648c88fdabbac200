"""One connection per array and process, for all volumes with the same address and credentials.

Arrays keep a limited number of sessions, and count them per user.
"""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")
_connections: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
_lock = threading.Lock()


def shared(key: Hashable, make: Callable[[], T]) -> T:
    """Return the connection of this key; the first caller makes it, the last one drops it.

    `key` names everything that the connection depends on: the kind of array, its address, the
    user, the credentials, the certificates and the time for an answer.
    """
    with _lock:
        found: T | None = _connections.get(key)
        if found is None:
            found = _connections[key] = make()
        return found
