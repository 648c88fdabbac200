"""The addresses of one node: whether they are free, whether they answer, how to change them."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from core.errors import ConfigurationError
from core.process import certificate_files, listen_addresses
from core.process import check_free as check_address
from core.settings import OVERRIDE_PREFIX, Address, Settings

#: A start that takes longer is reported; the supervisor does not wait longer for it.
START_SECONDS = 60.0
POLL_SECONDS = 0.05
_PROBE_SECONDS = 1.0
#: What people call the processes that are no doors.
_TITLES = {"redis": "embedded store", "flower": "Flower"}


@dataclass(frozen=True, slots=True)
class Listener:
    """The address of one process, and its setting."""

    process: str
    title: str
    address: Address
    #: As `api.client.service-addr`.
    setting: str
    #: Its certificate, when it speaks TLS.
    certificate: Path | None = None

    @property
    def url(self) -> str:
        """Return its URL on this machine: by a name of its certificate, if one leads here."""
        host = self.trusted_name() or self.address.local.host
        return f"{self.scheme}://{Address(host, self.address.port)}"

    @property
    def scheme(self) -> str:
        """Return the scheme of its URL."""
        return "https" if self.certificate else "http"

    def trusted_name(self) -> str | None:
        """Return the name of this machine under which the certificate is right; None without one.

        It asks the process itself, so it needs one that listens.
        """
        if self.certificate is None:
            return None
        for name in (self.address.local.host, "localhost", socket.gethostname()):
            with suppress(OSError, ValueError):
                context = ssl.create_default_context(cafile=str(self.certificate))
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                with (
                    socket.create_connection((name, self.address.port), _PROBE_SECONDS) as plain,
                    context.wrap_socket(plain, server_hostname=name),
                ):
                    return name
        return None

    @property
    def variable(self) -> str:
        """Return the environment variable of the setting."""
        path = self.setting.upper().replace("-", "_").split(".")
        return OVERRIDE_PREFIX + "__".join(path)

    @property
    def example(self) -> str:
        """Return an example value: the port plus one hundred."""
        port = self.address.port + 100
        return str(port if self.setting.endswith("port") else self.address._replace(port=port))


def of(settings: Settings) -> Iterator[Listener]:
    """Return every address of this node, the store's first."""
    for process, setting, address in listen_addresses(settings):
        title = _TITLES.get(process, f"{process} door")
        certificate = certificate_files(process, settings).get("ssl-cert")
        yield Listener(process, title, address, setting, certificate)


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
        check_address(one.address)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is taken" if taken else f"cannot be used ({error.strerror})"
        table, _, key = one.setting.rpartition(".")
        return (
            f"The address {one.address} of the {one.title} {why}. Change it: set [{table}] {key} "
            f"in {origin}, or {one.variable}={one.example} in the environment."
        )
    return None


async def answers(one: Listener, deadline: float) -> bool:
    """Wait until the process answers; False when it does not before `deadline` (loop time).

    An accepted connection is not enough: gunicorn listens before its application is built.
    """
    while asyncio.get_running_loop().time() < deadline:
        with suppress(OSError, TimeoutError):
            if await asyncio.wait_for(_has_answer(one), _PROBE_SECONDS):
                return True
        await asyncio.sleep(POLL_SECONDS)
    return False


async def _has_answer(one: Listener) -> bool:
    tls = None
    if one.certificate:
        # An answer is enough here, whatever name its certificate has.
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(*one.address.local, ssl=tls)
    try:
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
    where = settings.redis_url.rpartition("@")[2].rpartition("//")[2]
    try:
        with Redis.from_url(
            settings.redis_url, socket_timeout=_PROBE_SECONDS, socket_connect_timeout=_PROBE_SECONDS
        ) as client:
            client.ping()
    except AuthenticationError as error:
        given = settings.redis_url.rpartition("@")[0].rpartition(":")[2]
        wrong = "refuses the password" if given else "wants a password, and none is set"
        raise ConfigurationError(f"The store at {where} {wrong} ([vfolder.redis]).") from error
    except ResponseError as error:  # it answers: no right (ACL), no room, another kind of server
        return f"The store at {where} refuses: {error} ([vfolder.redis])."
    except (RedisError, ValueError, OSError) as error:
        return f"The store at {where} does not answer: {_cause(error)} ([vfolder.redis])."
    return None


def _cause(error: BaseException) -> str:
    """Return the first cause of an error of a connection, in words of the system."""
    inner = error.__cause__ or error.__context__
    while inner is not None:
        error, inner = inner, inner.__cause__ or inner.__context__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or type(error).__name__
