"""Connections to Redis or Valkey: a target per role, a database per purpose, always a time-out.

The databases that the manager also reads have the numbers of the reference service.
"""

import os
import threading
from enum import IntEnum
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.retry import Retry
from redis.sentinel import Sentinel

from core.redis.guard import StoreGuard, guarded
from core.settings import RedisTarget, Settings

#: A connection that was idle for this long is checked before its next use (seconds).
HEALTH_CHECK_SECONDS = 10

#: The key by which processes prove that a server takes writes. It expires, so of all processes of
#: the cluster one changes it per this time (milliseconds).
PROOF_KEY = "vf:proof"
PROOF_MILLISECONDS = 2500


#: What a connection says of its client. Without it, each new one reads the metadata of the package,
#: which takes more time than all else of a connection.
_DRIVER = DriverInfo()


class Database(IntEnum):
    """The number of each database, by its purpose."""

    LIVE = 0
    JOBS = 1
    BROKER = 2
    RESULTS = 3
    EVENTS = 4
    UPLOADS = 8


#: The role whose override a database follows; the other databases use the base target.
_ROLES = {Database.LIVE: "live", Database.EVENTS: "stream"}


def connect(settings: Settings, database: Database, *, text: bool = True) -> "redis.Redis":
    """Return a client that returns text or bytes; a process has one pool per database for all.

    It opens no connection yet. Closing the client closes none, since others use them. Every command
    is tried at most twice and raises `redis.RedisError` after `connect-timeout` or
    `answer-timeout`, so that no door hangs on a frozen server. The second try is safe because all
    our writes are scripts that may run twice. A server that does not answer at all is left alone
    for a moment (`guard`): then commands fail at once. With Sentinels, each new connection asks
    them for the master.
    """
    own = settings.vfolder.redis
    target = own.target(_ROLES.get(database, ""))
    options: dict[str, Any] = {
        "decode_responses": text,
        "socket_connect_timeout": own.connect_timeout,
        "socket_timeout": own.answer_timeout,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "driver_info": _DRIVER,
        "retry": Retry(NoBackoff(), 1),
        **(_tls(settings, target) if target.secure else {}),
    }
    times = own.connect_timeout, own.answer_timeout
    key = (msgspec.json.encode(target), settings.directory, int(database), text, times)
    with _shared.lock:
        if key not in _shared.pools:
            pool = _shared.pools[key] = _pool(target, database, options)
            guard = _shared.guards.setdefault((key[0], times), StoreGuard(own.connect_timeout))
            pool.connection_class = guarded(pool.connection_class, guard)
        return redis.Redis(connection_pool=_shared.pools[key])


class _Shared:
    """The pools of this process, by what they connect to."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pools: dict[Any, redis.ConnectionPool] = {}
        #: By server: all its databases are silent together.
        self.guards: dict[Any, StoreGuard] = {}


_shared = _Shared()
# A forked process has pools of its own; its parent may have held the lock.
os.register_at_fork(after_in_child=_shared.__init__)  # type: ignore[misc] # begins again


def _pool(
    target: RedisTarget, database: Database, options: dict[str, Any]
) -> "redis.ConnectionPool":
    if not target.sentinels:
        return redis.ConnectionPool.from_url(f"{target.plain_url}/{int(database)}", **options)
    if target.secure:
        options = options | {"ssl": True}
    asking = {**options, "password": target.sentinel_password}
    sentinel = Sentinel(target.sentinels, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call] # redis-py has no types here
    master: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call] # as above
        target.service_name, db=int(database), password=target.password
    )
    return master.connection_pool


def prove_write(client: "redis.Redis") -> None:
    """Raise `redis.RedisError` when the server takes no write; costs one round trip.

    The server checks its memory, role and disk before it looks at the key. So every call is a
    proof, though nearly all of them change nothing.
    """
    client.set(PROOF_KEY, "1", nx=True, px=PROOF_MILLISECONDS)


def _tls(settings: Settings, target: RedisTarget) -> dict[str, Any]:
    options: dict[str, Any] = {"ssl_cert_reqs": "none" if target.tls_skip_verify else "required"}
    if target.tls_skip_verify:
        options["ssl_check_hostname"] = False
    if target.tls_ca:
        options["ssl_ca_certs"] = str(settings.directory / target.tls_ca)
    return options


def celery_url(settings: Settings, database: Database) -> str:
    """Return the URL of a database of the base target in the form of Celery and kombu."""
    target = settings.vfolder.redis.target()
    number = int(database)
    if target.sentinels:
        secret = f":{quote(target.password, safe='')}@" if target.password else ""
        return ";".join(f"sentinel://{secret}{where}/{number}" for where in target.sentinels)
    query = f"?{urlencode(_tls(settings, target))}" if target.secure else ""
    return f"{target.plain_url}/{number}{query}"


def celery_options(settings: Settings) -> dict[str, Any]:
    """Return the transport options that Celery and kombu need besides the URL."""
    target = settings.vfolder.redis.target()
    if not target.sentinels or settings.vfolder.jobs.broker:
        return {}
    asking = {"password": target.sentinel_password} if target.sentinel_password else {}
    tls = {"ssl": True, **_tls(settings, target)} if target.secure else {}
    return {"master_name": target.service_name, "sentinel_kwargs": asking | tls}


def broker_url(settings: Settings) -> str:
    """Return the URL of the broker: Redis, unless another one is set."""
    return settings.vfolder.jobs.broker or celery_url(settings, Database.BROKER)


def broker_is_redis(settings: Settings) -> bool:
    """Return whether the broker is Redis."""
    return broker_url(settings).startswith(("redis", "sentinel"))


def queue_settings(settings: Settings) -> dict[str, Any]:
    """Return the Celery settings on which senders and workers must agree.

    On RabbitMQ the queues are quorum queues: several servers keep them on disk. RabbitMQ refuses a
    sender that declares a queue otherwise, so every process with a queue takes these.
    """
    if broker_is_redis(settings):
        return {}
    return {
        "task_create_missing_queue_type": "quorum",
        "task_create_missing_queue_exchange_type": "topic",
        "task_default_queue_type": "quorum",
        "task_default_exchange_type": "topic",
        "worker_detect_quorum_queues": True,
        "broker_transport_options": {"confirm_publish": True},
    }
