"""Connections to Redis, its scripts, JSON and retries. Knows nothing of what is stored."""

from core.redis import connections, json
from core.redis.connections import (
    Database,
    broker_url,
    celery_options,
    celery_url,
    connect,
    queue_settings,
)
from core.redis.json import dumps
from core.redis.retry import AWAY, retrying
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
    "queue_settings",
    "retrying",
]
