"""FlashBlade's REST interface: sessions by token, two families of versions, lists of `items`."""

import weakref
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from msgspec import Struct, field

from backends.mounted.rest import (
    ArrayAnswer,
    ArrayOptions,
    ArrayRefusal,
    ArrayRefused,
    ArrayRequest,
    Client,
    Reason,
    body_as,
    end_session,
    unknown,
)
from core.errors import BackendFailed, ConfigurationError

_SESSION = "x-auth-token"
#: Lists the versions that the array supports; the newest known one is used.
AUTO = "auto"
_FAMILIES = (2, 1)
_BUSY_WORDS = "busy"
#: What a refusal with the status 400 means, by its words.
_REASONS = {"does not exist": Reason.NOT_FOUND, "already exists": Reason.EXISTS}
T = TypeVar("T")


class PureOptions(ArrayOptions, frozen=True, kw_only=True):
    """Options of a volume on FlashBlade; the prefix `purity_` marks those of Backend.AI's proxy."""

    purity_endpoint: str
    purity_api_token: str
    purity_api_version: str = AUTO
    purity_fs_name: str
    #: Move deleted trees into the array's own `.fast-remove`, where the file system has one.
    use_fast_remove: bool = True
    #: The directory of the RapidFile Toolkit's programs; None searches PATH.
    rapidfile_dir: str | None = None
    #: Let RapidFile's `prm` remove purged trees, where there is no `.fast-remove`.
    rapidfile_remove: bool = False
    #: How long a new snapshot may stay invisible on the mount (seconds).
    purity_attribute_seconds: float = 45.0


class _Paging(Struct):
    continuation_token: str | None = None


class _Items(Struct, Generic[T]):
    """A page of either family; 1.x has its token in `pagination_info`."""

    items: list[T] = []
    continuation_token: str | None = None
    pagination_info: _Paging = field(default_factory=_Paging)

    @property
    def rest(self) -> str | None:
        """Return the token of the next page."""
        return self.continuation_token or self.pagination_info.continuation_token


class _Versions(Struct):
    versions: list[str]


class Space(Struct):
    """Bytes before the array reduces them."""

    virtual: int | None = None


class PureFileSystem(Struct):
    """A file system; `provisioned` is a number, or "" or absent where nothing limits it."""

    name: str
    provisioned: int | str | None = None
    space: Space = field(default_factory=Space)
    destroyed: bool = False

    @property
    def limit(self) -> int | None:
        """Return its size; None when it may fill the array."""
        return int(self.provisioned) if self.provisioned else None


class ArraySpace(Struct):
    """The array as a whole."""

    capacity: int | None = None


class PureRates(Struct):
    """The current rates of a file system."""

    reads_per_sec: float = 0
    writes_per_sec: float = 0
    read_bytes_per_sec: float = 0
    write_bytes_per_sec: float = 0
    usec_per_read_op: float = 0
    usec_per_write_op: float = 0


class Alert(Struct):
    """An alert of the array."""

    severity: str = ""


class Blade(Struct):
    """One blade."""

    name: str = ""
    status: str = ""


class _QuotaOwner(Struct):
    id: int | None = None


class PureQuota(Struct):
    """The quota of one user or group on a file system, and what they use; None is unknown."""

    user: _QuotaOwner | None = None
    group: _QuotaOwner | None = None
    quota: int | None = None
    usage: int | None = None

    @property
    def owner(self) -> int | None:
        """Return the number of the user or the group."""
        found = self.user or self.group
        return None if found is None else found.id

    @property
    def used_up(self) -> bool:
        """Return whether nothing is left of it."""
        return bool(self.quota) and (self.usage or 0) >= (self.quota or 0)


class PureApi:
    """FlashBlade's interface: the session, and the file system that the options name."""

    def __init__(self, options: PureOptions) -> None:
        self._options = options
        self._version = None if options.purity_api_version == AUTO else options.purity_api_version
        self.client = Client(
            options.target(options.purity_endpoint),
            partial(_sign_in, options.purity_api_token),
            _dialect,
            secrets=(options.purity_api_token,),
            answer_seconds=options.answer_seconds,
        )
        weakref.finalize(self, end_session, self.client, "POST", "/api/logout")

    def file_system(self) -> PureFileSystem:
        """Request the file system and return it.

        Raises:
            ConfigurationError: no file system has this name, or it is destroyed.
        """
        name = self._options.purity_fs_name
        try:
            for found in self.items("file-systems", PureFileSystem, names=name):
                if found.name == name and not found.destroyed:
                    return found
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
        raise ConfigurationError(f"FlashBlade has no file system {name!r} that we may see.")

    def rates(self) -> PureRates:
        """PureRates of the file system now.

        Raises:
            BackendFailed: the array reports none.
        """
        names = {"names": self._options.purity_fs_name, "protocol": "NFS"}
        for found in self.items("file-systems/performance", PureRates, **names):
            return found
        raise BackendFailed("FlashBlade tells no rates of this file system.")

    def quota_of(self, kind: str, number: int) -> PureQuota | None:
        """Return the quota of a user or group (`users`, `groups`); None where there is none.

        The interface has user and group quotas since 1.7; others, and a user who may not read
        them, count as none.
        """
        names = {"file_system_names": self._options.purity_fs_name}
        try:
            found = self.items(f"usage/{kind}", PureQuota, **names)
            return next((one for one in found if one.owner == number and one.quota), None)
        except ArrayRefused:
            return None

    def items(self, path: str, row: type[T], /, **query: Any) -> Iterator[T]:  # noqa: ANN401 - JSON values
        """Yield every item of a list, page by page."""
        token: str | None = None
        link = self.link(path)
        while True:
            whole = {**query, "token" if self.is_old() else "continuation_token": token}
            page = self.client.get(link, _Items[row], **whole)  # type: ignore[valid-type] # a type at run time
            yield from page.items
            token = page.rest
            if not token:
                return

    def link(self, path: str) -> str:
        """Return a path with the version of the interface."""
        return f"/api/{self._chosen()}/{path}"

    def is_old(self) -> bool:
        """Return whether the family 1.x is used: some names of arguments differ."""
        return self._chosen().startswith("1.")

    def _chosen(self) -> str:
        if self._version is None:
            known = self.client.get("/api/api_version", _Versions).versions
            self._version = _newest(known)
        return self._version


def _sign_in(api_token: str, client: Client) -> Mapping[str, str]:
    request = ArrayRequest("POST", "/api/login", headers={"api-token": api_token})
    answer = client.present(request, "FlashBlade does not know this API token.")
    token = answer.headers.get(_SESSION)
    if not token:
        raise ArrayRefused("FlashBlade's login gave no session.")
    return {_SESSION: token}


def _newest(versions: list[str]) -> str:
    """Return the newest supported version; one list has the versions of both families."""
    for family in _FAMILIES:
        minors = [v for v in versions if v.partition(".")[0] == str(family)]
        if minors:
            return max(minors, key=lambda v: [int(part) for part in v.split(".") if part.isdigit()])
    raise BackendFailed("FlashBlade speaks no version of its interface that we know.")


class _Word(Struct):
    message: str = ""


class _PureRefusal(Struct):
    errors: list[_Word] = []


def _dialect(answer: ArrayAnswer) -> ArrayRefusal | None:
    """Parse a refusal: an invalid session is 401 or 403, a missing name 400, overload also 500."""
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return None
    plain, said = unknown(answer), body_as(answer, _PureRefusal)
    if said is None:
        return plain
    words = " ".join(error.message for error in said.errors)
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR and _BUSY_WORDS in words.lower():
        return ArrayRefusal(Reason.BUSY, "", words)
    if answer.status == HTTPStatus.BAD_REQUEST:
        meant = (reason for known, reason in _REASONS.items() if known in words)
        return ArrayRefusal(next(meant, plain.reason), "", words)
    return ArrayRefusal(plain.reason, "", words)
