"""The addresses of Redis from the cluster's etcd, for a file that names no Redis."""

from typing import Any

import msgspec

from core.errors import NotYetThere, Unavailable
from core.settings.etcd import Etcd
from core.settings.own import EtcdUseTable
from core.settings.reference import EtcdTable
from core.telemetry import logger

_log = logger(__name__)
_AWAY = (
    "The Redis of the cluster is looked up there. Name it in [vfolder.redis], or set "
    "[vfolder.etcd] required = false: then an embedded store is used while etcd does not answer."
)
_PREFIX = "config/redis"
_TEXTS = ("addr", "password", "sentinel", "service-name", "sentinel-password")
_FLAGS = ("use-tls", "tls-skip-verify")
_TRUE = ("true", "1", "yes")
#: The names of time-outs in etcd, and ours.
_TIMEOUTS = {"socket-connect-timeout": "connect-timeout", "socket-timeout": "answer-timeout"}


def complete(tables: dict[str, Any]) -> None:
    """Add the Redis settings of etcd, when the file has `[etcd]` and names no Redis.

    When no member of etcd answers, nothing starts: a node that took another Redis meanwhile would
    have jobs of its own, on the volumes of the cluster. `[vfolder.etcd] required = false` says that
    the file is used alone then.

    Raises:
        NotYetThere: etcd is required and does not answer; a later start may succeed.
    """
    own = tables.get("vfolder", {})
    redis = own.get("redis", {})
    if "etcd" not in tables or any(redis.get(key) for key in ("url", "addr", "sentinel")):
        return
    try:
        table = msgspec.convert(tables["etcd"], EtcdTable)
    except msgspec.ValidationError:
        return  # the check of all settings reports what is wrong
    found = _read(table, tables, required=_is_required(own))
    if found:
        tables.setdefault("vfolder", {})["redis"] = {**redis, **_redis(_kebab(found))}


def _is_required(own: dict[str, Any]) -> bool:
    try:
        return msgspec.convert(own.get("etcd", {}), EtcdUseTable).required
    except msgspec.ValidationError:
        return False  # the check of all settings reports what is wrong


def _read(table: EtcdTable, tables: dict[str, Any], *, required: bool) -> dict[str, Any]:
    node = str(tables.get("storage-proxy", {}).get("node-id", ""))
    try:
        return Etcd(table, node).tree(_PREFIX)
    except (Unavailable, ValueError) as error:
        if required:
            raise NotYetThere(f"{error} {_AWAY}") from error
        _log.warning("etcd not read", reason="no member answers; the file is used alone")
        return {}


def _redis(found: dict[str, Any]) -> dict[str, Any]:
    table = _target(found)
    helper = found.get("redis-helper-config") or {}
    table |= {ours: float(helper[key]) for key, ours in _TIMEOUTS.items() if key in helper}
    overrides = found.get("override-configs") or {}
    if overrides:
        table["override-configs"] = {
            role.replace("-", "_"): _target(target) for role, target in overrides.items()
        }
    return table


def _target(found: dict[str, Any]) -> dict[str, Any]:
    table = {key: found[key] for key in _TEXTS if found.get(key)}
    flags = {key: found[key].lower() in _TRUE for key in _FLAGS if key in found}
    return table | flags


def _kebab(found: dict[str, Any]) -> dict[str, Any]:
    return {
        key.replace("_", "-"): _kebab(value) if isinstance(value, dict) else value
        for key, value in found.items()
    }
