"""Service discovery: register this node for a limited time, renew it, deregister at shutdown.

The record goes to Redis (a hash whose values are JSON documents) or to etcd, as
`[service-discovery] type` says. With a `service-group` the node is also published by events.
"""

import time
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import orjson
import redis

from core.errors import Unavailable
from core.events import Bus, Event
from core.names import reference_moment
from core.process.version import VERSION
from core.redis import Database, connect, dumps
from core.settings import Etcd, Settings
from core.telemetry import logger

#: The record is renewed this often.
RENEW_SECONDS = 60.0
#: A record that is not renewed expires after this long (seconds).
RECORD_SECONDS = 180
GROUP = "storage-proxy"
_ETCD_TOP = f"ai/backend/service_discovery/{GROUP}"
_log = logger(__name__)


class Discovery:
    """The record of this node; made after the fork. A failed write is only logged."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._table = settings.service_discovery
        #: The id of the events; of the record it is not, which must be a UUID.
        self.instance = str(self._table.get("instance-id") or self.id)
        self._began = time.time()
        self._redis = connect(settings, Database.LIVE)
        self._bus = Bus(connect(settings, Database.EVENTS))

    def register(self) -> None:
        """Write the record, or renew it."""
        self._quietly(self._write)
        if self._group:
            self._quietly(lambda: self._bus.stream(self._registered()))

    def deregister(self) -> None:
        """Remove the record: the node goes down on purpose."""
        self._quietly(self._erase)
        if self._group:
            self._quietly(lambda: self._bus.stream(self._deregistered()))

    @property
    def id(self) -> str:
        """Return the id of the record: a UUID of the group and the internal address."""
        _, internal = self._settings.api.manager.announced
        return str(uuid5(NAMESPACE_DNS, f"{GROUP}/{internal}"))

    # -- The record --------------------------------------------------------------------------------
    def record(self) -> dict[str, Any]:
        """Return the fields of the record."""
        announced, internal = self._settings.api.manager.announced
        return {
            "id": self.id,
            "display_name": f"storage-{self._settings.storage_proxy.node_id}",
            "service_group": GROUP,
            "version": VERSION,
            "endpoint": {
                "address": str(announced),
                "port": announced.port,
                "protocol": "http",
                "prometheus_address": str(internal),
            },
            "health_status": {"registration_time": self._began, "last_heartbeat": time.time()},
            "labels": {},
        }

    def _write(self) -> None:
        record = self.record()
        if etcd := self._etcd():
            etcd.put(f"{_ETCD_TOP}/{self.id}", dict(_flat(record)), RECORD_SECONDS)
            return
        fields: dict[Any, Any] = {name: dumps(value) for name, value in record.items()}
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._key, mapping=fields)
            pipe.expire(self._key, RECORD_SECONDS)
            pipe.execute()

    def _erase(self) -> None:
        if etcd := self._etcd():
            etcd.remove(f"{_ETCD_TOP}/{self.id}")
        else:
            self._redis.delete(self._key)

    @property
    def _key(self) -> str:
        return f"service_discovery.{GROUP}.{self.id}"

    def _etcd(self) -> Etcd | None:
        table = self._settings.etcd
        if self._table.get("type", "redis") != "etcd" or table is None:
            return None
        return Etcd(table, self._settings.storage_proxy.node_id)

    # -- The events --------------------------------------------------------------------------------
    @property
    def _group(self) -> str:
        return str(self._table.get("service-group") or "")

    def _registered(self) -> Event:
        service = {
            "instance_id": self.instance,
            "service_group": self._group,
            "display_name": self._table.get("display-name") or self.record()["display_name"],
            "version": VERSION,
            "labels": self._table.get("extra-labels") or {},
            "endpoints": [_endpoint(one) for one in self._table.get("endpoints") or []],
        }
        config_hash = sha256(orjson.dumps(service, option=orjson.OPT_SORT_KEYS)).hexdigest()
        started = reference_moment(self._began)
        return Event(
            "service_registered",
            {**service, "startup_time": started, "config_hash": config_hash},
            positional=[
                orjson.dumps({**service, "config_hash": config_hash}),
                started.encode(),
            ],
        )

    def _deregistered(self) -> Event:
        fields = {"instance_id": self.instance, "service_group": self._group}
        return Event(
            "service_deregistered",
            fields,
            positional=[text.encode() for text in fields.values()],
        )

    @staticmethod
    def _quietly(write: Any) -> None:  # noqa: ANN401 - a callable
        try:
            write()
        except (redis.RedisError, Unavailable) as error:
            _log.warning("node not announced", reason=type(error).__name__)


def _endpoint(table: dict[str, Any]) -> dict[str, Any]:
    endpoint = {key: table.get(key) for key in ("role", "scope", "address", "port", "protocol")}
    return {**endpoint, "metadata": table.get("metadata") or {}}


def _flat(record: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in record.items():
        if isinstance(value, dict):
            flat += _flat(value, f"{prefix}{key}/")
        else:
            flat.append((f"{prefix}{key}", str(value)))
    return flat
