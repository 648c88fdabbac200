"""The node's record in service discovery: its shape, its renewal, its end, and its events."""

import signal
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

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
instance-id = "storage-one.example"
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
INSTANCE = "storage-one.example"


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
        internal, main = settings.api.manager.internal_address, settings.api.manager.address
        own = str(uuid5(NAMESPACE_DNS, f"storage-proxy/{internal}"))
        assert key == f"service_discovery.storage-proxy.{own}"
        found = {name: orjson.loads(value) for name, value in redis_client.hgetall(key).items()}
        assert 0 < redis_client.ttl(key) <= RECORD_SECONDS
        health = found.pop("health_status")
        assert set(health) == {"registration_time", "last_heartbeat"}
        assert found.pop("version")
        assert found == {
            "id": own,
            "display_name": "storage-node1",
            "service_group": "storage-proxy",
            "endpoint": {
                "address": str(main),
                "port": main.port,
                "protocol": "http",
                "prometheus_address": str(internal),
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
    assert gone == [INSTANCE.encode(), b"storage-proxy"]
    assert gone_named == {"instance_id": INSTANCE, "service_group": "storage-proxy"}


def test_a_door_that_was_killed_registers_again(
    tmp_path: Path, valkey: Valkey, redis_client: Redis
) -> None:
    settings = settings_in(tmp_path, valkey.url)

    def began() -> str:
        return str(orjson.loads(redis_client.hget(first, "health_status"))["registration_time"])

    with running_door("internal", settings) as door:
        (first,) = wait_for(lambda: records(redis_client))
        before = began()
        for child in psutil.Process(door.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGKILL)
        wait_for(lambda: began() != before)
        assert records(redis_client) == [first]
        assert redis_client.ttl(first) != NO_END, "the record of a dead process ends by itself"


@pytest.mark.parametrize(
    ("more", "main", "internal"),
    [
        ('internal-addr = "0.0.0.0:6123"', "", f"{gethostname()}:6123"),
        (
            'announce-internal-addr = "10.0.0.1:7"\nannounce-addr = "10.0.0.1:8"',
            "10.0.0.1:8",
            "10.0.0.1:7",
        ),
    ],
)
def test_the_address_announced_is_the_one_that_listens_unless_set(
    tmp_path: Path, more: str, main: str, internal: str
) -> None:
    path = Path(settings_in(tmp_path).origin)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("internal-addr")]
    if "announce" in more:
        lines = path.read_text().splitlines()
    lines.insert(lines.index("[api.manager]") + 1, more)
    path.write_text("\n".join(lines))
    manager = load(path, {}).api.manager
    announced = tuple(str(one) for one in manager.announced)
    assert announced == (main or str(manager.address), internal)


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
        assert found["endpoint"]["prometheus_address"] == str(settings.api.manager.internal_address)
        discovery.deregister()
        assert etcd.tree(top) == {}
