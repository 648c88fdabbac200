"""The node's record in service discovery: its shape, its renewal, its end, and its events."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import orjson
import psutil
import pytest
from redis import Redis

from core.cluster import Discovery
from core.cluster.discovery import RECORD_SECONDS
from core.settings import Etcd, load
from tests.cluster.test_etcd import running_etcd
from tests.support.doors import running_door, settings_in
from tests.support.node import wait_for
from tests.support.valkey import Valkey

MORE = """
[service-discovery]
service-group = "storage-proxy"
instance-id = "11111111-2222-4333-8444-555555555555"
display-name = "storage-one"
[service-discovery.extra-labels]
site = "a"
[[service-discovery.endpoints]]
role = "main"
scope = "private"
address = "10.0.0.1"
port = 6022
protocol = "http"
"""
#: What the command TTL gives for a key without an end.
NO_END = -1
ID = "11111111-2222-4333-8444-555555555555"


def records(client: Redis) -> list[str]:
    return [str(key) for key in client.scan_iter("service_discovery.storage-proxy.*")]


def discovery_events(valkey: Valkey) -> list[tuple[str, Any, Any]]:
    """Return every discovery event: its name, its positional body, its named body."""
    with Redis.from_url(f"{valkey.url}/4") as client:
        return [
            (
                entry[b"name"].decode(),
                msgpack.unpackb(entry[b"args"], raw=False),
                orjson.loads(entry[b"payload"]),
            )
            for _, entry in client.xrange("events")
        ]


def test_the_record_lives_as_long_as_the_internal_door(
    tmp_path: Path, valkey: Valkey, redis_client: Redis
) -> None:
    settings = settings_in(tmp_path, valkey.url, MORE)
    with running_door("internal", settings):
        (key,) = wait_for(lambda: records(redis_client))
        assert key == f"service_discovery.storage-proxy.{ID}"
        found = {name: orjson.loads(value) for name, value in redis_client.hgetall(key).items()}
        assert 0 < redis_client.ttl(key) <= RECORD_SECONDS
        health = found.pop("health_status")
        assert set(health) == {"registration_time", "last_heartbeat"}
        assert found.pop("version")
        assert found == {
            "id": ID,
            "display_name": "storage-node1",
            "service_group": "storage-proxy",
            "endpoint": {
                "address": "127.0.0.1:6022",
                "port": 6022,
                "protocol": "http",
                "prometheus_address": "host.docker.internal:6023",
            },
            "labels": {},
        }
    wait_for(lambda: not records(redis_client))
    events = discovery_events(valkey)
    assert [name for name, _, _ in events] == ["service_registered", "service_deregistered"]
    (_, [packed, moment], named), (_, gone, gone_named) = events
    started = named.pop("startup_time")
    assert moment == started.encode()
    assert orjson.loads(packed) == named
    assert list(named) == [
        "instance_id",
        "service_group",
        "display_name",
        "version",
        "labels",
        "endpoints",
        "config_hash",
    ]
    assert named["endpoints"][0]["address"] == "10.0.0.1"
    assert gone == [ID.encode(), b"storage-proxy"]
    assert gone_named == {"instance_id": ID, "service_group": "storage-proxy"}


def test_a_door_that_was_killed_registers_again(
    tmp_path: Path, valkey: Valkey, redis_client: Redis
) -> None:
    settings = settings_in(tmp_path, valkey.url)
    with running_door("internal", settings) as door:
        (first,) = wait_for(lambda: records(redis_client))
        for child in psutil.Process(door.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGKILL)
        wait_for(lambda: set(records(redis_client)) - {first})
        assert redis_client.ttl(first) != NO_END, "the record of the dead process ends by itself"


@pytest.mark.part("etcd")
def test_the_record_in_etcd(tmp_path: Path, valkey: Valkey) -> None:
    with running_etcd(tmp_path) as port:
        more = f'[etcd]\naddr = "127.0.0.1:{port}"\n[service-discovery]\ntype = "etcd"'
        settings_in(tmp_path, valkey.url, more)
        settings = load(tmp_path / "storage-proxy.toml", {})
        assert settings.etcd is not None
        etcd = Etcd(settings.etcd, "node1")
        discovery = Discovery(settings)
        discovery.register()
        top = "ai/backend/service_discovery/storage-proxy"
        found = etcd.tree(top)[discovery.id]
        assert found["display_name"] == "storage-node1"
        assert found["endpoint"]["prometheus_address"] == "host.docker.internal:6023"
        discovery.deregister()
        assert etcd.tree(top) == {}
