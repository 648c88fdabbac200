"""Connections to Redis, its scripts, JSON and retries. Knows nothing of what is stored."""

from core.redis import connections, json
from core.redis.connections import (
    Database,
    broker_url,
    celery_options,
    celery_url,
    connect,
    prove_write,
    queue_settings,
)
from core.redis.json import dumps
from core.redis.retry import (
    AWAY,
    retrying,
    store_is_away,
    store_problem,
    store_refuses,
)
from core.redis.scripts import ScriptCall

__all__ = [
    "AWAY",
    "Database",
    "ScriptCall",
    "broker_url",
    "celery_options",
    "celery_url",
    "connect",
    "connections",
    "dumps",
    "json",
    "prove_write",
    "queue_settings",
    "retrying",
    "store_is_away",
    "store_problem",
    "store_refuses",
]
