"""The released reader of service discovery: one record that it cannot read breaks all of them."""

from collections.abc import Mapping
from uuid import UUID

import msgspec
from msgspec import Struct
from redis import Redis

_PREFIX = "service_discovery"


class Endpoint(Struct):
    address: str
    port: int
    protocol: str
    prometheus_address: str


class HealthStatus(Struct):
    registration_time: float
    last_heartbeat: float


class Service(Struct):
    id: UUID
    display_name: str
    service_group: str
    version: str
    endpoint: Endpoint
    health_status: HealthStatus
    labels: dict[str, str]


def discover(client: "Redis[bytes]", group: str) -> list[Service]:
    """Return the services of a group, each from a hash whose values are JSON documents.

    Raises:
        msgspec.DecodeError: a value is no JSON, or has another type.
    """
    names = client.scan_iter(f"{_PREFIX}.{group}.*")
    return [_service(name.decode(), client.hgetall(name)) for name in names]


def _service(name: str, fields: Mapping[bytes, bytes]) -> Service:
    read = {key.decode(): msgspec.json.decode(value) for key, value in fields.items()}
    service = msgspec.convert(read, Service)
    assert name == f"{_PREFIX}.{service.service_group}.{service.id}"
    return service
