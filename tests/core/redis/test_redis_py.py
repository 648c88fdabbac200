"""redis-py as it was read: what `core.redis.guard` overrides. The behaviour is in `test_guard.py`.

When a digest differs, read the new source, check what the guard makes of it, then renew the digest
and "Read at" in docs/dependencies.md.
"""

import hashlib
import inspect
from typing import Any

import pytest
import redis
from redis import connection, sentinel

from core.redis.guard import StoreGuard, guarded

VERSION = "8.1"
READ: tuple[tuple[Any, str, str], ...] = (
    (connection.AbstractConnection, "connect", "3efda598d10dfdeb"),
    (connection.AbstractConnection, "read_response", "695c899843302e31"),
    (connection.Connection, "_connect", "660740390d04a256"),
    (connection.SSLConnection, "_connect", "2d27728b160c2c17"),
    (connection.UnixDomainSocketConnection, "_connect", "1e02c33e137f3ff3"),
    (sentinel.SentinelManagedConnection, "connect", "2b0e09c37198c007"),
    (sentinel.SentinelManagedConnection, "read_response", "f7b4e7d69fcf71e8"),
    (sentinel.SentinelManagedConnection, "_connect_retry", "3c68be804dbb41a6"),
    (sentinel.SentinelManagedConnection, "connect_to", "5f76663f71977c70"),
)


def test_the_pinned_version() -> None:
    assert redis.__version__.startswith(f"{VERSION}.")


@pytest.mark.parametrize(("upstream", "name", "read"), READ)
def test_what_is_overridden_is_unchanged(upstream: Any, name: str, read: str) -> None:
    source = inspect.getsource(vars(upstream)[name])
    assert hashlib.sha256(source.encode()).hexdigest()[:16] == read


def test_each_override_is_listed() -> None:
    made = guarded(connection.Connection, StoreGuard(1.0))
    ours = made.__mro__[1]  # behind the class itself
    names = {name for name, value in vars(ours).items() if callable(value)}
    assert names == {name for _, name, _ in READ} - {"_connect_retry", "connect_to"}
