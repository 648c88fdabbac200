"""The addresses of one node: whether they are free, whether they answer, how to change them."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from core.errors import ConfigurationError
from core.settings import Address, Settings

#: A start that takes longer is reported; the supervisor does not wait longer for it.
START_SECONDS = 60.0
POLL_SECONDS = 0.05
_PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Listener:
    """The address of one process, and its setting."""

    process: str
    title: str
    address: Address
    setting: str

    @property
    def variable(self) -> str:
        """Return the environment variable of the setting."""
        table, _, key = self.setting.removeprefix("[").partition("] ")
        path = [*table.split("."), key]
        return "VFOLDER__" + "__".join(part.upper().replace("-", "_") for part in path)

    @property
    def example(self) -> str:
        """Return an example value: the port plus one hundred."""
        port = self.address.port + 100
        return str(port if self.setting.endswith("port") else self.address._replace(port=port))


def of(settings: Settings) -> Iterator[Listener]:
    """Return every address of this node, the store's first."""
    api, own = settings.api, settings.vfolder
    if settings.store_is_embedded:
        store = Address("127.0.0.1", own.redis.port)
        yield Listener("redis", "embedded store", store, "[vfolder.redis] port")
    manager, internal = api.manager.address, api.manager.internal_address
    yield Listener("manager", "manager door", manager, "[api.manager] service-addr")
    yield Listener("client", "client door", api.client.address, "[api.client] service-addr")
    yield Listener("internal", "internal door", internal, "[api.manager] internal-addr")
    if own.flower.password:
        yield Listener("flower", "Flower", own.flower.address, "[vfolder.flower] addr")


def check_free(settings: Settings) -> None:
    """Check that no other process listens at the addresses.

    Raises:
        ConfigurationError: addresses cannot be used; one sentence each, with the setting to change.
    """
    sentences = [text for one in of(settings) if (text := _refusal(one, settings.origin))]
    if sentences:
        raise ConfigurationError("\n".join(sentences))


def _refusal(one: Listener, origin: str) -> str | None:
    try:
        infos = socket.getaddrinfo(*one.address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, *_rest, where = infos[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"cannot be used ({error.strerror})"
        return (
            f"The address {one.address} of the {one.title} {why}. Change it: set {one.setting} in "
            f"{origin}, or {one.variable}={one.example} in the environment."
        )
    return None


async def answers(one: Listener, deadline: float) -> bool:
    """Wait until the process answers; False when it does not before `deadline` (loop time).

    An accepted connection is not enough: gunicorn listens before its application is built.
    """
    while asyncio.get_running_loop().time() < deadline:
        with suppress(OSError, TimeoutError):
            if await asyncio.wait_for(_has_answer(one.address), _PROBE_SECONDS):
                return True
        await asyncio.sleep(POLL_SECONDS)
    return False


async def _has_answer(address: Address) -> bool:
    reader, writer = await asyncio.open_connection(*address)
    try:
        # A door with TLS answers plain text with an alert or a 400, which also counts.
        writer.write(b"GET /livez HTTP/1.0\r\n\r\n")
        return bool(await reader.read(1))
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def store_problem(settings: Settings) -> str | None:
    """Return a sentence when the store does not answer now, else None; one try.

    The sentence does not contain the password.

    Raises:
        ConfigurationError: the store refuses the password, so waiting does not help.
    """
    try:
        with Redis.from_url(
            settings.redis_url, socket_timeout=_PROBE_SECONDS, socket_connect_timeout=_PROBE_SECONDS
        ) as client:
            client.ping()
    except AuthenticationError as error:
        raise ConfigurationError("The store refuses the password ([vfolder.redis]).") from error
    except (RedisError, ValueError, OSError):
        where = settings.redis_url.rpartition("@")[2].removeprefix("redis://")
        return f"The store at {where} does not answer ([vfolder.redis])."
    return None
