"""Endpoints of object storage, and one boto3 client per endpoint and process."""

import base64
import hashlib
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError

from backends.systems.s3.errors import failure
from core.errors import ConfigurationError
from core.names import parsed_moment
from core.process import version

if TYPE_CHECKING:
    from botocore.config import Config

    from backends.systems.s3.direct import DirectRequests

DEFAULT_REGION = "us-east-1"
#: A connection that is not made in this time counts as failed (seconds).
CONNECT_SECONDS = 5.0
#: An answer whose next bytes take longer counts as lost (seconds).
READ_SECONDS = 60.0
#: Tries of one request. Pauses are random and double up to 20 s (botocore, "adaptive" retries).
ATTEMPTS = 5
#: Connections of a process to one endpoint, and requests that run beside each other.
CONNECTIONS = 32
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a kind of endpoint expects, beyond the protocol that all have."""

    #: botocore's modes of checksums; servers before 2025 refuse the new trailers.
    checksums: Literal["when_supported", "when_required"]
    #: Where the bucket is named: in the path, or in the host ("virtual").
    addressing: Literal["path", "virtual"]
    #: The body of a batch of deletions has an MD5 in place of a new checksum.
    batch_md5: bool
    #: Objects may be read and written without boto3's machinery, which checksums need.
    direct: bool


#: Amazon S3: new checksums, buckets as hosts.
AWS_RULES = Rules("when_supported", "virtual", batch_md5=False, direct=False)
#: MinIO, Ceph RGW, SeaweedFS and others, old versions too.
COMPATIBLE_RULES = Rules("when_required", "path", batch_md5=True, direct=True)


@dataclass(frozen=True, slots=True)
class S3Endpoint:
    """An endpoint and how to connect; equal ones share a client and its connections.

    Without keys, boto3 looks for credentials as all tools of AWS do: environment, files
    (`credentials_profile`, which may assume a role), web identity, container, instance.
    """

    #: `https://host:port`; None is Amazon S3 in the region.
    url: str | None = None
    region: str = DEFAULT_REGION
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    #: A profile of the files of AWS (`~/.aws/config`), when there are no keys.
    credentials_profile: str | None = None
    #: "path" or "virtual" (the bucket is part of the host); None follows the rules of the endpoint.
    addressing: Literal["path", "virtual"] | None = None
    #: A file of the authorities that sign the server's certificate; None is the system's.
    ca_file: str | None = None
    #: The client's certificate and its key, where the server wants one.
    client_certificate: tuple[str, str] | None = None
    #: A proxy, `http://host:port`; None follows HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
    proxy: str | None = field(default=None, repr=False)
    connect_seconds: float = CONNECT_SECONDS
    read_seconds: float = READ_SECONDS
    attempts: int = ATTEMPTS
    connections: int = CONNECTIONS

    def __post_init__(self) -> None:
        """Check what can be checked without a connection; the texts have no value.

        Raises:
            ConfigurationError: a value cannot be right.
        """
        if bool(self.access_key) != bool(self.secret_key):
            raise ConfigurationError("An access key and a secret key belong together.")
        if self.addressing not in (None, "path", "virtual"):
            raise ConfigurationError("The addressing of buckets is `path` or `virtual`.")
        if self.url is None:
            return
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("An endpoint is a URL such as https://s3.example.org:9000.")
        if parts.username or parts.password:
            raise ConfigurationError("An endpoint has no user name and no password.")

    @property
    def rules(self) -> Rules:
        """Return the rules by which this endpoint is spoken to."""
        host = urlsplit(self.url).hostname or "" if self.url else _AWS_HOSTS[0]
        return AWS_RULES if host.endswith(_AWS_HOSTS) else COMPATIBLE_RULES


class S3Connection:
    """The boto3 client of an endpoint and the threads of its parallel requests."""

    def __init__(self, endpoint: S3Endpoint) -> None:
        self.endpoint = endpoint
        self.process = os.getpid()

    @cached_property
    def s3(self) -> Any:  # noqa: ANN401 - boto3 makes the class of the client at run time
        """Return the client; safe for several threads.

        Raises:
            ObjectStorageFailed: there are no credentials, or the files of AWS are wrong.
        """
        with _making:
            return self._made()

    @cached_property
    def direct(self) -> "DirectRequests | None":
        """Return the way around boto3's machinery; None where the endpoint needs it.

        Raises:
            ObjectStorageFailed: as `s3`.
        """
        from backends.systems.s3.direct import DirectRequests  # noqa: PLC0415 - as boto3

        own = self.endpoint
        in_path = (own.addressing or own.rules.addressing) == "path"
        has_keys = self.s3._get_credentials() is not None  # noqa: SLF001 - see `direct`
        return DirectRequests(self.s3) if own.rules.direct and in_path and has_keys else None

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """Return the threads for requests that run beside each other."""
        return ThreadPoolExecutor(self.endpoint.connections, thread_name_prefix="s3")

    def _made(self) -> Any:  # noqa: ANN401 - as above
        import boto3  # noqa: PLC0415 - 6 MiB and 0.1 s that nodes without a bucket do not pay
        import botocore.session  # noqa: PLC0415 - as boto3

        own, rules = self.endpoint, self.endpoint.rules
        try:
            core = botocore.session.get_session()
            parsers = core.get_component("response_parser_factory")
            parsers.set_parser_defaults(timestamp_parser=_moment)
            session = boto3.Session(
                botocore_session=core,
                aws_access_key_id=own.access_key,
                aws_secret_access_key=own.secret_key,
                aws_session_token=own.session_token,
                profile_name=own.credentials_profile,
                region_name=own.region,
            )
            client = session.client(
                "s3", endpoint_url=own.url, verify=own.ca_file, config=_config(own)
            )
        except (BotoCoreError, ValueError) as error:
            raise failure(error, "connect") from None
        if rules.batch_md5:
            client.meta.events.register("before-call.s3.DeleteObjects", _with_md5)
        return client


def _config(own: S3Endpoint) -> "Config":
    from botocore.config import Config  # noqa: PLC0415 - as above

    rules = own.rules
    return Config(
        signature_version="s3v4",
        s3={"addressing_style": own.addressing or rules.addressing},
        request_checksum_calculation=rules.checksums,
        response_checksum_validation=rules.checksums,
        retries={"mode": "adaptive", "total_max_attempts": own.attempts},
        connect_timeout=own.connect_seconds,
        read_timeout=own.read_seconds,
        max_pool_connections=own.connections,
        tcp_keepalive=True,
        proxies={"http": own.proxy, "https": own.proxy} if own.proxy else None,
        client_cert=own.client_certificate,
        user_agent_extra=f"vfolder/{version.VERSION}",
    )


def _moment(value: Any) -> datetime:  # noqa: ANN401 - text or a number, as the service answers
    """Return a moment of an answer; botocore's own way takes most of the time of a listing."""
    from botocore.utils import parse_timestamp  # noqa: PLC0415 - as boto3

    try:
        found = parsed_moment(value)
    except (TypeError, ValueError):  # a header, or seconds
        return parse_timestamp(value)
    return found if found.tzinfo else parse_timestamp(value)


def _with_md5(params: Mapping[str, Any], **_: object) -> None:
    """Give a batch of deletions the Content-MD5 of the protocol's first version.

    The API requires a checksum there, so boto3 sends a new one whatever the mode is; servers
    before 2025 want the MD5.
    """
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
    params["context"].get("checksum", {}).pop("request_algorithm", None)
    for name in [name for name in params["headers"] if name.lower().startswith("x-amz-sdk-check")]:
        del params["headers"][name]


#: Sessions of boto3 are made by one thread at a time.
_making = threading.Lock()
_connections: dict[S3Endpoint, S3Connection] = {}
_known = threading.Lock()


def connection(endpoint: S3Endpoint) -> S3Connection:
    """Return the connection of this process to an endpoint; made once.

    A forked process makes its own: two processes must not read answers from one socket.
    """
    with _known:
        found = _connections.get(endpoint)
        if found is None or found.process != os.getpid():
            found = _connections[endpoint] = S3Connection(endpoint)
        return found


def _fresh_locks() -> None:
    """Replace locks that a thread of the parent may hold at the fork."""
    global _making, _known
    _making, _known = threading.Lock(), threading.Lock()


os.register_at_fork(after_in_child=_fresh_locks)
