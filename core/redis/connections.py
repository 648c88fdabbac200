"""Connections to Redis or Valkey: a target per role, a database per purpose, timeouts that end.

The numbers of the databases that the manager also reads are the reference's.
"""

from enum import IntEnum
from typing import Any
from urllib.parse import quote, urlencode

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from core.settings import RedisTarget, Settings

#: A connection that was idle this long is asked before it is used again (seconds).
HEALTH_CHECK_SECONDS = 10


class Database(IntEnum):
    """What lives where."""

    LIVE = 0
    JOBS = 1
    BROKER = 2
    RESULTS = 3
    EVENTS = 4
    UPLOADS = 8


#: The role of the cluster whose override a database follows; the others go by the base target.
_ROLES = {Database.LIVE: "live", Database.EVENTS: "stream"}


def connect(settings: Settings, database: Database, *, text: bool = True) -> "redis.Redis":
    """A client with a pool of its own: text out, or bytes.

    Opens nothing yet. Every call tries twice at most and raises `redis.RedisError` after
    `connect-timeout` or `answer-timeout`, so that no door hangs on a frozen server. All our
    writes are scripts that may be repeated, which is what makes the second try safe. Behind
    Sentinels each new connection asks for the master.
    """
    own = settings.vfolder.redis
    target = own.target(_ROLES.get(database, ""))
    options: dict[str, Any] = {
        "decode_responses": text,
        "socket_connect_timeout": own.connect_timeout,
        "socket_timeout": own.answer_timeout,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "retry": Retry(NoBackoff(), 1),
        **(_tls(settings, target) if target.secure else {}),
    }
    if not target.sentinels:
        client: redis.Redis = redis.Redis.from_url(f"{target.plain_url}/{int(database)}", **options)
        return client
    if target.secure:
        options["ssl"] = True
    asking = {**options, "password": target.sentinel_password}
    sentinel = Sentinel(target.sentinels, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call] # redis-py has no types here
    master: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call] # as above
        target.service_name, db=int(database), password=target.password
    )
    return master


def _tls(settings: Settings, target: RedisTarget) -> dict[str, Any]:
    found: dict[str, Any] = {"ssl_cert_reqs": "none" if target.tls_skip_verify else "required"}
    if target.tls_skip_verify:
        found["ssl_check_hostname"] = False
    if target.tls_ca:
        found["ssl_ca_certs"] = str(settings.directory / target.tls_ca)
    return found


def celery_url(settings: Settings, database: Database) -> str:
    """A database of the base target as Celery and kombu name it."""
    target = settings.vfolder.redis.target()
    number = int(database)
    if target.sentinels:
        secret = f":{quote(target.password, safe='')}@" if target.password else ""
        return ";".join(f"sentinel://{secret}{where}/{number}" for where in target.sentinels)
    query = f"?{urlencode(_tls(settings, target))}" if target.secure else ""
    return f"{target.plain_url}/{number}{query}"


def celery_options(settings: Settings) -> dict[str, Any]:
    """What Celery and kombu must be told beside the URL, as transport options."""
    target = settings.vfolder.redis.target()
    if not target.sentinels or settings.vfolder.jobs.broker:
        return {}
    asking = {"password": target.sentinel_password} if target.sentinel_password else {}
    tls = {"ssl": True, **_tls(settings, target)} if target.secure else {}
    return {"master_name": target.service_name, "sentinel_kwargs": asking | tls}


def broker_url(settings: Settings) -> str:
    """Where doorbells go: Redis, unless another broker is set."""
    return settings.vfolder.jobs.broker or celery_url(settings, Database.BROKER)


def broker_is_redis(settings: Settings) -> bool:
    """Whether doorbells go through Redis."""
    return broker_url(settings).startswith(("redis", "sentinel"))


def queue_settings(settings: Settings) -> dict[str, Any]:
    """What both sides of the queues must agree on, in Celery's words.

    On RabbitMQ the queues are quorum queues: kept on disk by several servers. A sender that
    declares one otherwise is refused, so whoever touches a queue takes these.
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
