"""The certificates of the doors: which files they are, and whether a door can use them."""

import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import Settings

_LOAD_ERRORS = {
    "KEY_VALUES_MISMATCH": "the key in ssl-privkey does not belong to the certificate in ssl-cert",
    "BAD_DECRYPT": "the key in ssl-privkey needs a passphrase; give one without",
    "BAD_PASSWORD_READ": "the key in ssl-privkey needs a passphrase; give one without",
}


def certificate_files(door: str, settings: Settings) -> dict[str, Path]:
    """Return a process's certificate and key (`ssl-cert`, `ssl-privkey`); none without TLS.

    A door reads them at each new connection.
    """
    table = {"client": settings.api.client, "manager": settings.api.manager}.get(door)
    if table is None or not table.ssl_enabled:
        return {}
    files = {"ssl-cert": table.ssl_cert, "ssl-privkey": table.ssl_privkey}
    return {key: settings.directory / path for key, path in files.items() if path}


def check_certificate(door: str, settings: Settings) -> None:
    """Check that this process can serve a door with its certificate and key.

    Raises:
        ConfigurationError: it cannot; the sentence names the file and what is wrong with it.
    """
    files = certificate_files(door, settings)
    for key, path in files.items():
        _check_readable(f"[api.{door}] {key}", path)
    if files:
        _server(door, files)


def certificate_end(door: str, settings: Settings) -> float | None:
    """Return when the certificate of a door ends (seconds of the epoch); None without TLS.

    A client that trusts this certificate is served once, in memory.

    Raises:
        ConfigurationError: as `check_certificate`, or no client accepts it: it has ended, is not
            valid yet, or is not meant for a server.
    """
    files = certificate_files(door, settings)
    if not files:
        return None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server = _server(door, files)
    client.load_verify_locations(files["ssl-cert"])
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        found = _accepted(client, server)
    except ssl.SSLCertVerificationError as error:
        raise ConfigurationError(
            f"[api.{door}] ssl-cert: no client accepts it: {error.verify_message}."
        ) from error
    return ssl.cert_time_to_seconds(str(found["notAfter"]))


def _accepted(client: ssl.SSLContext, server: ssl.SSLContext) -> Mapping[str, object]:
    """Return the facts of the certificate that a server shows and a client accepts."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    while True:
        with suppress(ssl.SSLWantReadError):
            one.do_handshake()
            return one.getpeercert() or {}
        with suppress(ssl.SSLWantReadError):
            other.do_handshake()


def _server(door: str, files: dict[str, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files["ssl-cert"], files.get("ssl-privkey"), password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        # OpenSSL's general error names no reason: it found no block in PEM form.
        reason = getattr(error, "reason", None) or ""
        words = _LOAD_ERRORS.get(reason, "a file has no certificate or no key in PEM form")
        raise ConfigurationError(f"[api.{door}] ssl-cert, ssl-privkey: {words}.") from error
    return context


def _check_readable(key: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except PermissionError as error:
        raise ConfigurationError(
            f"{key}: the user {os.geteuid()} cannot read {path}: give the file a group of this "
            "user and mode 0640."
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{key}: cannot read {path}: {error.strerror}.") from error
