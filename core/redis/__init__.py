"""Connections to Redis, scripts and JSON for it. Knows nothing of what is stored."""

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
from core.redis.scripts import ScriptCall

__all__ = [
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
]
