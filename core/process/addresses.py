"""The addresses where the processes of a node listen, and whether a process may listen there."""

import socket
from collections.abc import Iterator
from typing import NamedTuple

from core.settings import Address, Settings

_STORE_HOST = "127.0.0.1"


class ListenAddress(NamedTuple):
    """Where a process listens, and the setting that says so (`api.client.service-addr`)."""

    process: str
    setting: str
    address: Address


def listen_addresses(settings: Settings) -> Iterator[ListenAddress]:
    """Return every address of this node, the store's first."""
    api, own = settings.api, settings.vfolder
    if settings.store_is_embedded:
        yield ListenAddress("redis", "vfolder.redis.port", Address(_STORE_HOST, own.redis.port))
    yield ListenAddress("manager", "api.manager.service-addr", api.manager.address)
    yield ListenAddress("client", "api.client.service-addr", api.client.address)
    yield ListenAddress("internal", "api.manager.internal-addr", api.manager.internal_address)
    if own.flower.password:
        yield ListenAddress("flower", "vfolder.flower.addr", own.flower.address)


def check_free(address: Address) -> None:
    """Listen at an address for a moment, as a process of the node does.

    Raises:
        OSError: as bind(2) and getaddrinfo(3); EADDRINUSE where another process listens.
    """
    infos = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, *_rest, where = infos[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
