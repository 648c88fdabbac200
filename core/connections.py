"""Connections to Redis or Valkey: one URL, a database per purpose, and timeouts that end.

The numbers of the databases that the manager also reads are the reference's.
"""

from enum import IntEnum
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from core.settings import Settings

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


def connect(settings: Settings, database: Database) -> "redis.Redis":
    """A client with a pool of its own: text in, text out.

    Opens nothing yet. Every call tries twice at most and raises `redis.RedisError` after
    `connect-timeout` or `answer-timeout`, so that no door hangs on a frozen server. All our
    writes are scripts that may be repeated, which is what makes the second try safe.
    """
    own = settings.vfolder.redis
    client: redis.Redis = redis.Redis.from_url(
        f"{settings.redis_url}/{int(database)}",
        decode_responses=True,
        socket_connect_timeout=own.connect_timeout,
        socket_timeout=own.answer_timeout,
        socket_keepalive=True,
        health_check_interval=HEALTH_CHECK_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
    return client


def broker_url(settings: Settings) -> str:
    """Where doorbells go: Redis, unless another broker is set."""
    return settings.vfolder.jobs.broker or f"{settings.redis_url}/{int(Database.BROKER)}"


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
