"""OneFS's interface as a client sees it: options, sessions, refusals and lists."""

import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from msgspec import Struct

from backends.mounted.rest import (
    ArrayAnswer,
    ArrayOptions,
    ArrayRefusal,
    ArrayRefused,
    ArrayRequest,
    Client,
    Reason,
    basic_login,
    basic_token,
    body_as,
    end_session,
    shared,
    unknown,
)
from core.errors import BackendFailed, ConfigurationError

#: The port of the interface, where the option names none.
PORT = 8080
_SESSION = "/session/1/session"
#: Read with a user and a password in the request: every user of the interface may read it.
LATEST = "/platform/latest"
_COOKIES = ("isisessid", "isicsrf")
#: The interface chosen by `auto`: the newest of these that the cluster has.
_KNOWN_VERSIONS = (12, 1)
#: Since this version a quota names the figure that its thresholds apply to.
_THRESHOLDS_ON = 10
#: Entries of one page of a list.
PAGE_SIZE = 1000
#: A feature makes and changes its objects in these states of its licence.
_LICENSED = frozenset({"licensed", "evaluation", "activated"})
#: Since this version a feature has the resource of its licence.
_LICENSES = 5
_REASONS = {
    "AEC_NOT_FOUND": Reason.NOT_FOUND,
    "AEC_CONFLICT": Reason.EXISTS,
    "AEC_BAD_REQUEST": Reason.INVALID,
    "AEC_FORBIDDEN": Reason.DENIED,
}
T = TypeVar("T")
_COOKIE_PATTERN = "{}=([^;,\\s]+)"


class OneFsOptions(ArrayOptions, frozen=True, kw_only=True):
    """Options of a volume on OneFS; the prefix `dell_` marks those of Backend.AI's proxy."""

    dell_endpoint: str
    dell_username: str | None = None
    #: Another name of `dell_username`.
    dell_admin: str | None = None
    dell_password: str
    #: `auto`, or the version of the platform interface.
    dell_api_version: str | int = "auto"
    #: The path on the cluster of what is mounted.
    dell_ifs_path: str = "/ifs"
    #: Accepted for Backend.AI's storage proxy, without effect: rates are those of NFS.
    dell_system_name: str = "nfs"
    #: The access zone of the path; None is the System zone.
    dell_zone: str | None = None
    #: `basic` sends user and password with each request; hardened clusters switch that off.
    dell_auth: Literal["session", "basic"] = "session"
    #: Let the cluster remove purged trees, by its job TreeDelete.
    dell_tree_delete: bool = False

    @property
    def user(self) -> str:
        """Return the user, by either name.

        Raises:
            ConfigurationError: the options name no user.
        """
        user = self.dell_username or self.dell_admin
        if not user:
            raise ConfigurationError("A volume on OneFS needs dell_username.")
        return user

    @property
    def url(self) -> str:
        """Return the address of the interface."""
        url = self.target(self.dell_endpoint).endpoints[0]
        return url if re.search(r":\d+$", url) else f"{url}:{PORT}"

    @property
    def version(self) -> int | None:
        """Return the version of the platform interface; None lets the cluster say it.

        Raises:
            ConfigurationError: the option is no version.
        """
        if self.dell_api_version == "auto":
            return None
        text = str(self.dell_api_version).removeprefix("v")
        if not text.isdigit():
            raise ConfigurationError("dell_api_version is `auto` or a number, such as 12.")
        return int(text)

    @property
    def base(self) -> str:
        """Return the path on the cluster, without a slash at its end.

        Raises:
            ConfigurationError: the path is not in the cluster's file system.
        """
        path = "/" + self.dell_ifs_path.strip("/")
        if path != "/ifs" and not path.startswith("/ifs/"):
            raise ConfigurationError("dell_ifs_path is a path of the cluster: it begins with /ifs.")
        return path


class Connection:
    """The session of this process with one cluster; ends with the last volume that uses it."""

    def __init__(self, options: OneFsOptions) -> None:
        user, password = options.user, options.dell_password
        token, basic = basic_token(user, password), options.dell_auth == "basic"
        body = {"username": user, "password": password, "services": ["platform", "namespace"]}
        self.client = Client(
            options.target(options.url),
            basic_login(token, LATEST) if basic else partial(_sign_in, options.url, body),
            _dialect,
            secrets=(password, token),
            answer_seconds=options.answer_seconds,
        )
        self._version: int | None = None
        if not basic:
            weakref.finalize(self, end_session, self.client, "DELETE", _SESSION)

    @property
    def version(self) -> int:
        """Return the version of the interface to use; one request the first time.

        Raises:
            BackendFailed: the cluster has no version that this backend knows.
        """
        if self._version is None:
            latest = self.client.get(LATEST, _Latest).latest
            newest = int(latest) if latest.isdigit() else 0
            self._version = next((one for one in _KNOWN_VERSIONS if one <= newest), None)
            if self._version is None:
                raise BackendFailed("OneFS has no version of its interface that we know.")
        return self._version


class _Latest(Struct):
    latest: str


def connect(options: OneFsOptions) -> Connection:
    """Return the connection of this process with the cluster and the user of the options."""
    key = (
        "onefs",
        *(options.url, options.user, options.dell_password, options.dell_auth),
        *(options.ca_bundle, options.verify_tls, options.answer_seconds),
    )
    return shared(key, lambda: Connection(options))


class Platform:
    """The platform interface of a cluster, in one version and one access zone."""

    def __init__(self, options: OneFsOptions) -> None:
        self._connection = connect(options)
        self._version = options.version
        self.zone = options.dell_zone
        self.client = self._connection.client

    @property
    def names_figure(self) -> bool:
        """Return whether quotas have `thresholds_on` (OneFS 9.0), not `…_include_overhead`."""
        return self.version >= _THRESHOLDS_ON

    @property
    def version(self) -> int:
        """Return the version of the interface."""
        return self._version or self._connection.version

    def path(self, resource: str, version: int | None = None) -> str:
        """Return the path of a resource, in the volume's version or an older one."""
        return f"/platform/{version or self.version}/{resource}"

    def rows(
        self,
        path: str,
        shape: type[T],
        rows: Callable[[T], tuple[list[Any], str | None]],
        /,
        **query: Any,  # noqa: ANN401 - JSON values
    ) -> Iterator[Any]:
        """Yield every row of a list; a page after the first is requested by `resume` alone."""
        page, resume = rows(self.client.get(path, shape, **query))
        yield from page
        while resume:
            page, resume = rows(self.client.get(path, shape, resume=resume))
            yield from page

    def licensed(self, feature: str) -> bool | None:
        """Return whether a feature has a licence; None when this user may not read that."""
        try:
            status = self.client.get(self.path(f"{feature}/license", _LICENSES), _License).status
        except ArrayRefused as refusal:
            if refusal.reason not in (Reason.NOT_FOUND, Reason.DENIED):
                raise
            return None
        return status.lower() in _LICENSED

    def has_directory(self, path: str) -> bool:
        """Return whether a directory exists at this path of the cluster (namespace interface)."""
        found = self.client.find(f"{namespace(path)}?metadata", _Metadata)
        if found is None:
            return False
        kinds = [one.value for one in found.attrs if one.name == "type"]
        return kinds in ([], ["container"])


class _License(Struct):
    status: str = ""


class _Attribute(Struct):
    name: str = ""
    value: Any = None


class _Metadata(Struct):
    attrs: list[_Attribute]


def namespace(path: str) -> str:
    """Return the address of a path of the cluster in the namespace interface."""
    return f"/namespace{quote(path)}"


def _sign_in(url: str, body: Mapping[str, Any], client: Client) -> Mapping[str, str]:
    """Log in; the session is a cookie, a token against forged requests, and our own address."""
    request = ArrayRequest("POST", _SESSION, body=body)
    answer = client.present(request, "OneFS does not know this user.")
    cookies = answer.headers.get("Set-Cookie", "")
    found = [re.search(_COOKIE_PATTERN.format(name), cookies) for name in _COOKIES]
    if found[0] is None:
        raise ArrayRefused("OneFS's login gave no session.")
    pairs = [f"{name}={one[1]}" for name, one in zip(_COOKIES, found, strict=True) if one]
    headers = {"Cookie": "; ".join(pairs), "Referer": url}
    return headers | ({"X-CSRF-Token": found[1][1]} if found[1] else {})


class _Complaint(Struct):
    code: str = ""
    message: str = ""
    field: str = ""


class _OneFsRefusal(Struct):
    errors: list[_Complaint] = []


def _dialect(answer: ArrayAnswer) -> ArrayRefusal | None:
    """Parse a refusal; 401 is an expired session, 403 a missing right."""
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return None
    plain, said = unknown(answer), body_as(answer, _OneFsRefusal)
    if said is None:
        return plain
    complaints = said.errors
    words = " ".join(
        f"{one.message} ({one.field})" if one.field else one.message for one in complaints
    )
    code = complaints[0].code if complaints else ""
    return ArrayRefusal(_REASONS.get(code, plain.reason), code, words)
