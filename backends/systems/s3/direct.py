"""GET, PUT, parts and lists of objects on a boto3 client's connections, without its machinery.

The machinery of boto3 around a request (rules, events, checks, parsers) costs a millisecond of the
processor, which is most of the price of a small object. For a page of a list it is 20 ms; a part
of a big object costs it two thirds more. A request here is tried once. Where it does not succeed,
the caller asks boto3 the same, which repeats it and names the error.

Read at botocore 1.44: `client._endpoint.http_session`, `client._get_credentials`. `exchange` says
what it reads of urllib3.
"""

from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import file_digest, sha256
from hmac import digest
from http import HTTPStatus
from io import SEEK_END, RawIOBase
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit
from xml.etree import ElementTree as ET

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from backends.systems.s3.exchange import Exchange, NotPlain, exchanged
from core.names import parsed_moment
from core.process.version import VERSION

_METADATA = "x-amz-meta-"
#: The headers of a request, by the names of boto3's arguments.
_HEADERS = {"Range": "range", "IfMatch": "if-match", "ContentType": "content-type"}
#: Arguments of the calls that a request here can have.
_GET = frozenset({"Bucket", "Key", "Range", "IfMatch"})
_PUT = frozenset({"Bucket", "Key", "Body", "ContentType", "Metadata"})
_PART = frozenset({"Bucket", "Key", "Body", "PartNumber", "UploadId"})
#: The parameters of a list, by the names of boto3's arguments, and what the answer has always.
_LIST = {
    "ContinuationToken": "continuation-token",
    "Delimiter": "delimiter",
    "MaxKeys": "max-keys",
    "Prefix": "prefix",
}
_PAGE = "{http://s3.amazonaws.com/doc/2006-03-01/}ListBucketResult"
_Body = bytes | RawIOBase | None
_DONE = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
_PORTS = {"http": 80, "https": 443}


class DirectRequests:
    """Requests for objects of an endpoint whose buckets are in the path of a URL."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - boto3 makes the class at run time
        session, url = client._endpoint.http_session, client.meta.endpoint_url  # noqa: SLF001 - its connections
        parts = urlsplit(url)
        self._client = client
        self._host = host_of(url)
        self._path = parts.path.rstrip("/")
        #: Through a proxy boto3 sends all.
        self._has_proxy = session._proxy_config.proxy_url_for(url) is not None  # noqa: SLF001 - as above
        self._pool = session._manager.connection_from_url(url)  # noqa: SLF001 - as above
        session._setup_ssl_cert(self._pool, url, session._verify)  # noqa: SLF001 - as above
        #: Whether the server answers objects in the one form that `exchange` reads.
        self._is_plain = True

    def __call__(self, method: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what boto3 would answer to a call; None where boto3 has to be asked.

        Costs one request. `method` is that of boto3's client.
        """
        if self._has_proxy or not (self._is_plain or isinstance(arguments.get("Body", b""), bytes)):
            return None
        if method == "get_object" and arguments.keys() <= _GET:
            return self._get(arguments)
        if method == "list_objects_v2" and arguments.keys() <= _LIST.keys() | {"Bucket"}:
            return self._list(arguments)
        if method == "put_object" and arguments.keys() <= _PUT and _is_plain(arguments):
            return self._put(arguments)
        if method == "upload_part" and arguments.keys() <= _PART:
            return self._part(arguments)
        return None

    def _get(self, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        answer = self._sent("GET", arguments, {})
        if answer is None:
            return None
        found = answer.headers
        answered: dict[str, Any] = {
            "Body": answer,
            "ETag": found["etag"],
            "ContentType": found.get("content-type"),
            "ContentRange": found.get("content-range"),
            "Metadata": _metadata(found),
        }
        try:
            answered["ContentLength"] = int(found.get("content-length", ""))
            answered["LastModified"] = parsedate_to_datetime(found.get("last-modified", ""))
        except ValueError:
            answer.close()
            return None
        return {name: value for name, value in answered.items() if value is not None}

    def _put(self, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        metadata = {f"{_METADATA}{name}": text for name, text in arguments["Metadata"].items()}
        return _etag_of(self._sent("PUT", arguments, metadata))

    def _part(self, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        number, upload = arguments["PartNumber"], quote(arguments["UploadId"], safe="~")
        query = f"partNumber={number}&uploadId={upload}"
        return _etag_of(self._sent("PUT", arguments, {}, query=query))

    def _list(self, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return a page of a list. Names are asked for as URLs: XML has not every character."""
        own = {_LIST[name]: str(value) for name, value in arguments.items() if name in _LIST}
        asked = sorted((own | {"list-type": "2", "encoding-type": "url"}).items())
        query = "&".join(f"{name}={quote(value, safe='~')}" for name, value in asked)
        answer = self._answered("GET", f"{self._path}/{arguments['Bucket']}", {}, query=query)
        if answer is None:
            return None
        with closing(answer):
            try:
                return _page(ET.fromstring(answer.read()))  # noqa: S314 - botocore reads it so, too
            except (HTTPError, OSError, ET.ParseError, ValueError, LookupError):
                return None

    def _sent(
        self, verb: str, arguments: Mapping[str, Any], headers: dict[str, str], *, query: str = ""
    ) -> Any:  # noqa: ANN401 - as above
        """Return the answer of S3 to a request for an object; None where it has no ETag."""
        for name, header in _HEADERS.items():
            if name in arguments:
                headers[header] = arguments[name]
        path = f"{self._path}/{arguments['Bucket']}/{quote(arguments['Key'], safe='/~')}"
        ask = self._exchanged if self._is_plain else self._answered
        answer = ask(verb, path, headers, arguments.get("Body"), query=query)
        if answer is None or "etag" in answer.headers:
            return answer
        answer.close()
        return None

    def _exchanged(
        self, verb: str, path: str, headers: dict[str, str], body: _Body, *, query: str
    ) -> Exchange | None:
        """Return as `_answered`, at a third of its price."""
        own = {"accept-encoding": "identity", "user-agent": f"vfolder/{VERSION}"}
        if body is not None:
            own["content-length"] = str(_length_of(body))
        target = f"{path}?{query}" if query else path
        try:
            self._sign(verb, (path, query), headers, body)
            answer = exchanged(self._pool, f"{verb} {target}", own | headers, body or b"")
        except NotPlain:
            self._is_plain = False
            return None
        except (BotoCoreError, HTTPError, OSError, ValueError):
            return None
        if answer.status in _DONE:
            return answer
        answer.close()
        return None

    def _answered(
        self,
        verb: str,
        path: str,
        headers: dict[str, str],
        body: _Body = None,
        *,
        query: str,
    ) -> Any:  # noqa: ANN401 - as above
        """Return the answer to a request that succeeded, its body open; None for others."""
        try:
            self._sign(verb, (path, query), headers, body)
            answer = self._pool.urlopen(
                verb,
                f"{path}?{query}" if query else path,
                body,
                headers,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except (BotoCoreError, HTTPError, OSError):
            return None
        if answer.status in _DONE:
            return answer
        answer.close()
        return None

    def _sign(
        self, verb: str, target: tuple[str, str], headers: dict[str, str], body: _Body
    ) -> None:
        """Add the headers of Signature Version 4, which signs all headers that there are.

        `target` is the path and the query, whose parameters are in the order of their names.

        Source: "Signature Calculations for the Authorization Header", Amazon S3 API Reference.

        Raises:
            BotoCoreError: there are no credentials.
        """
        own, region = self._client._get_credentials(), self._client.meta.region_name  # noqa: SLF001 - they may change
        frozen = own.get_frozen_credentials()
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        content = _digest_of(body)
        headers |= {"host": self._host, "x-amz-date": moment, "x-amz-content-sha256": content}
        if frozen.token:
            headers["x-amz-security-token"] = frozen.token
        names = sorted(headers)
        lines = [f"{name}:{' '.join(headers[name].split())}" for name in names]
        signed = ";".join(names)
        request = "\n".join([verb, *target, *lines, "", signed, content])
        scope = f"{moment[:8]}/{region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        key = _signing_key(frozen.secret_key, moment[:8], region)
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={frozen.access_key}/{scope}, SignedHeaders={signed}, "
            f"Signature={digest(key, text.encode(), 'sha256').hex()}"
        )


def _etag_of(answer: Any) -> dict[str, Any] | None:  # noqa: ANN401 - as above
    """Return what boto3 answers to a PUT; None as `_sent`."""
    if answer is None:
        return None
    with closing(answer):
        answer.drain_conn()
    return {"ETag": answer.headers["etag"]}


def _length_of(body: bytes | RawIOBase) -> int:
    return len(body) if isinstance(body, bytes) else body.seek(0, SEEK_END)


def _digest_of(body: _Body) -> str:
    """Return the SHA-256 of a body; that of a file is made without the interpreter's lock."""
    if body is None or isinstance(body, bytes):
        return sha256(body or b"").hexdigest()
    body.seek(0)
    return file_digest(body, "sha256").hexdigest()


def host_of(url: str) -> str:
    """Return the header `Host` of requests to a URL (RFC 9110 §7.2)."""
    parts = urlsplit(url)
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    return name if parts.port in (None, _PORTS[parts.scheme]) else f"{name}:{parts.port}"


@lru_cache(maxsize=16)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = digest(key, part.encode(), "sha256")
    return key


def _is_plain(arguments: Mapping[str, Any]) -> bool:
    """Return whether headers can have the values unchanged; boto3 refuses others by name."""
    values = [arguments["ContentType"], *arguments["Metadata"], *arguments["Metadata"].values()]
    return all(text.isascii() and text.isprintable() for text in values)


def _page(found: ET.Element) -> dict[str, Any]:
    """Return a page of a list, as boto3 answers it.

    Raises:
        ValueError, LookupError: it is not the answer of S3.
    """
    if found.tag != _PAGE:
        raise ValueError(found.tag)
    members: dict[str, Any] = {"Contents": [], "CommonPrefixes": []}
    for element in found:
        name = element.tag.rpartition("}")[2]
        if name in ("Contents", "CommonPrefixes"):
            members[name].append({one.tag.rpartition("}")[2]: one.text or "" for one in element})
        else:
            members[name] = element.text or ""
    read = unquote_plus if members.get("EncodingType") == "url" else str
    for one in members["Contents"]:
        one["Key"], one["Size"] = read(one["Key"]), int(one["Size"])
        one["LastModified"] = parsed_moment(one["LastModified"])
    page = {
        "IsTruncated": members["IsTruncated"] == "true",
        "Contents": members["Contents"],
        "CommonPrefixes": [{"Prefix": read(one["Prefix"])} for one in members["CommonPrefixes"]],
    }
    if page["IsTruncated"]:
        page["NextContinuationToken"] = members["NextContinuationToken"]
    return page


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    named = [(name.lower(), value) for name, value in headers.items()]
    start = len(_METADATA)
    return {name[start:]: value for name, value in named if name.startswith(_METADATA)}
