"""WEKA's REST interface: logins, envelopes and refusals."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct, field

from backends.base import Exceeded
from backends.mounted.rest import (
    ArrayAnswer,
    ArrayOptions,
    ArrayRefusal,
    ArrayRefused,
    ArrayRequest,
    Client,
    Reason,
    TokenLogin,
    Tokens,
    body_as,
    shared,
    unknown,
)
from core.errors import ConfigurationError

API = "/api/v2"
#: WEKA's value for no limit; 0 means no limit too.
NO_LIMIT = 2**63 - 1
#: WEKA reports a missing object as 400 or 500, with one of these texts.
_MISSING = ("PATH_NOT_FOUND", "DoesNotExist", "does not exist", "not found", "no quota")
#: The text, and our code, for a file system whose id is not valid any more: it was made again.
_NO_FILE_SYSTEM = "FilesystemDoesNotExistException"
T = TypeVar("T")


class WekaOptions(ArrayOptions, frozen=True, kw_only=True):
    """Options of a volume on WEKA; the prefix `weka_` marks those of Backend.AI's proxy."""

    weka_endpoint: str
    #: More backends of the same cluster: the next one is used when one does not answer.
    weka_endpoints: list[str] = field(default_factory=list)
    weka_username: str
    weka_password: str
    weka_organization: str = "Root"
    weka_fs_name: str
    #: The directory of the file system that is mounted, where that is not its top.
    weka_path: str = "/"
    #: Where this node shows `.snapshots` of the file system, where the volume does not.
    weka_snapshots_path: str | None = None
    #: Vfolders have quotas of their own, which an administrator sets; their usage is read there.
    weka_vfolder_quotas: bool = False
    #: As `verify_tls`, under the name of Backend.AI's storage proxy.
    weka_verify_ssl: bool = True
    #: `stat` uses the mount's inode numbers, for clusters before 4.3, which resolve no paths.
    weka_inode_source: Literal["resolve", "stat"] = "resolve"

    @property
    def verifies(self) -> bool:
        """See `ArrayOptions.verifies`."""
        return self.verify_tls and self.weka_verify_ssl

    def place(self, path: str) -> str:
        """Return the path in the file system of a path below the volume."""
        return f"{self.base}/{path}".lstrip("/")

    @property
    def base(self) -> str:
        """Return the directory that is mounted, without slashes around it; empty is the top."""
        return self.weka_path.strip("/")


class _Data(Struct, Generic[T]):
    data: T
    next_token: str | None = None


class _WekaTokens(Struct):
    access_token: str
    refresh_token: str = ""
    password_change_required: bool = False


class WekaFileSystem(Struct):
    """A file system and its budget."""

    uid: str
    name: str
    total_budget: int | None = None
    used_total: int | None = None
    is_ready: bool = True


class _Inode(Struct):
    inode_id: str | int


class WekaQuota(Struct):
    """The quota of a directory."""

    inode_id: str | int = ""
    total_bytes: int | None = None
    hard_limit_bytes: int | None = None
    soft_limit_bytes: int | None = None
    grace_seconds: int | None = None
    #: Seconds; what is no number is unknown.
    time_over_soft_limit: Any = None
    status: str = "ACTIVE"
    full_path: str = ""
    path: str = ""

    @property
    def limit(self) -> int | None:
        """Return the hard limit; None without one."""
        return _read(self.hard_limit_bytes)

    @property
    def soft_limit(self) -> int | None:
        """Return the soft limit; None without one."""
        return _read(self.soft_limit_bytes)

    @property
    def exceeded(self) -> Exceeded | None:
        """Return which limit is passed. A soft limit refuses when its grace period has ended."""
        over = self.time_over_soft_limit
        if not isinstance(over, int | float) or over <= 0:
            return None
        grace = _read(self.grace_seconds)
        return "hard" if grace is not None and over > grace else "soft"

    @property
    def counted(self) -> bool:
        """Return whether everything in the directory is counted and the limit is enforced."""
        return self.status == "ACTIVE"


class WekaRates(Struct):
    """The current rates of one process of the cluster; None while it has no sample."""

    reads_per_second: float | None = None
    writes_per_second: float | None = None
    read_bytes_per_second: float | None = None
    write_bytes_per_second: float | None = None
    read_latency_usecs: float | None = None
    write_latency_usecs: float | None = None


class WekaApi:
    """WEKA's interface: logins, and the file system that the options name."""

    def __init__(self, options: WekaOptions) -> None:
        self._options = options
        self._uid: str | None = None
        self.client = _connect(options)

    def get(self, path: str, shape: type[T], /, **query: Any) -> T:  # noqa: ANN401 - JSON values
        """Return the content of an answer's envelope."""
        found: _Data[T] = self.client.get(API + path, _Data[shape], **query)  # type: ignore[valid-type] # a type at run time
        return found.data

    def file_system(self) -> WekaFileSystem:
        """Request the file system and return it.

        Raises:
            ConfigurationError: no file system has this name.
        """
        name = self._options.weka_fs_name
        for found in self.get("/fileSystems", list[WekaFileSystem], name=name):
            if found.name == name:
                self._uid = found.uid
                return found
        raise ConfigurationError(f"WEKA has no file system {name!r} that we may see.")

    def in_file_system(self, call: Callable[[str], T]) -> T:
        """Return what a call returns that gets the id of the file system.

        The id is remembered. WEKA does not know it any more when the file system was made again:
        then the call is made once more with the new one.

        Raises:
            ConfigurationError: no file system has this name.
        """
        known = self._uid
        try:
            return call(known or self.file_system().uid)
        except ArrayRefused as refusal:
            if refusal.code != _NO_FILE_SYSTEM or known is None:
                raise
        return call(self.file_system().uid)

    def inode(self, path: str) -> str | None:
        """Return the inode of a directory by its path below the volume; None without one."""
        place = f"/{self._options.place(path)}"
        found = self._find("/resolvePath", _Data[_Inode], path=place)
        return str(found.data.inode_id) if found else None

    def quota(self, inode: str) -> WekaQuota | None:
        """Return the quota of a directory; None without one."""
        found = self._find(f"/quota/{inode}", _Data[WekaQuota])
        return found.data if found else None

    def quotas(self) -> Iterator[WekaQuota]:
        """Return every quota of the file system; old releases answer with an object."""
        shape, token = _Data[list[WekaQuota] | dict[str, WekaQuota]], None
        while True:
            page = self.in_file_system(partial(self._page, shape, token))
            yield from page.data.values() if isinstance(page.data, dict) else page.data
            token = page.next_token
            if not token:
                return

    def make_quota(self, inode: str, name: str, limit: int | None) -> None:
        """Set the first quota of a directory; setting the same again changes nothing."""
        path = f"/{self._options.place(name)}"
        self._send("PUT", f"/quota/{inode}", {"hard_limit_bytes": _wire(limit), "path": path})

    def change_quota(self, inode: str, **limits: int | None) -> None:
        """Change limits of a quota by name; its other limits, grace period and owner stay."""
        body = {f"{name}_limit_bytes": _wire(limit) for name, limit in limits.items()}
        self._send("PATCH", f"/quota/{inode}", body)

    def delete_quota(self, inode: str) -> None:
        """Remove a quota; a missing one is no error."""
        self.in_file_system(lambda uid: self.client.remove(f"{_of(uid)}/quota/{inode}"))

    def _find(self, path: str, shape: type[T], /, **query: str) -> T | None:
        return self.in_file_system(lambda uid: self.client.find(_of(uid) + path, shape, **query))

    def _page(self, shape: type[T], token: str | None, uid: str) -> T:
        return self.client.get(f"{_of(uid)}/quota", shape, next_token=token)

    def _send(self, method: str, path: str, body: dict[str, Any]) -> None:
        self.in_file_system(
            lambda uid: self.client.send(ArrayRequest(method, _of(uid) + path, body=body))
        )


def _of(uid: str) -> str:
    """Return the path of a file system in the interface."""
    return f"{API}/fileSystems/{uid}"


def _read(limit: int | None) -> int | None:
    """Return a limit of WEKA; None is no limit."""
    return limit if 0 < (limit or 0) < NO_LIMIT else None


def _wire(limit: int | None) -> int:
    """Return a limit as WEKA takes it."""
    return NO_LIMIT if limit is None else limit


def _connect(options: WekaOptions) -> Client:
    """Return the connection of this process to the cluster, which all its volumes share."""
    target = options.target(options.weka_endpoint, *options.weka_endpoints)
    key = (
        *("weka", target, options.weka_organization, options.weka_username),
        *(options.weka_password, options.answer_seconds),
    )
    return shared(
        key,
        lambda: Client(
            target,
            TokenLogin(partial(_log_in, options), _renew),
            _dialect,
            secrets=(options.weka_password,),
            answer_seconds=options.answer_seconds,
        ),
    )


def _log_in(options: WekaOptions, client: Client) -> Tokens:
    body = {
        "username": options.weka_username,
        "password": options.weka_password,
        "org": options.weka_organization,
    }
    request = ArrayRequest("POST", f"{API}/login", body=body, shape=_Data[_WekaTokens])
    return _tokens(client.present(request, "WEKA does not know this user."))


def _renew(client: Client, refresh: str) -> Tokens:
    body = {"refresh_token": refresh}
    request = ArrayRequest("POST", f"{API}/login/refresh", body=body, shape=_Data[_WekaTokens])
    return _tokens(client.exchange(request))


def _tokens(answer: ArrayAnswer) -> Tokens:
    found: _WekaTokens = answer.body.data
    if found.password_change_required:
        raise ArrayRefused("WEKA wants this user's password changed first.", Reason.DENIED)
    return Tokens(found.access_token, found.refresh_token)


class _WekaRefusal(Struct):
    message: str = ""
    data: Any = None


def _dialect(answer: ArrayAnswer) -> ArrayRefusal | None:
    if answer.status == 401:  # noqa: PLR2004 - HTTP's own number: the token is not good any more
        return None
    plain, said = unknown(answer), body_as(answer, _WekaRefusal)
    if said is None:
        return plain
    inner = said.data.get("error", "") if isinstance(said.data, dict) else said.data or ""
    words = f"{said.message} {inner}".strip()
    if _NO_FILE_SYSTEM in words:
        return ArrayRefusal(Reason.FAILED, _NO_FILE_SYSTEM, words)
    missing = any(mark in words for mark in _MISSING)
    return ArrayRefusal(Reason.NOT_FOUND if missing else plain.reason, "", words)
