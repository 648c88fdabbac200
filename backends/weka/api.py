"""WEKA's REST interface: its logins, its envelopes, its refusals."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Struct, field

from backends.rest import (
    ArrayAnswer,
    ArrayOptions,
    ArrayRefusal,
    ArrayRefused,
    ArrayRequest,
    Client,
    Expired,
    Reason,
    unknown,
)
from core.errors import ConfigurationError

API = "/api/v2"
#: No limit, as WEKA writes it; 0 reads as none too.
NO_LIMIT = 2**63 - 1
#: A missing thing comes as 400 or 500, and says so in words.
_MISSING = ("PATH_NOT_FOUND", "DoesNotExist", "does not exist", "not found", "no quota")
T = TypeVar("T")


class WekaOptions(ArrayOptions, frozen=True, kw_only=True):
    """Options of a volume on WEKA; those that begin with `weka_` are known elsewhere too."""

    weka_endpoint: str
    #: More backends of the same cluster: the next one is asked when one is away.
    weka_endpoints: list[str] = field(default_factory=list)
    weka_username: str
    weka_password: str
    weka_organization: str = "Root"
    weka_fs_name: str
    #: As `verify_tls`, under the name that is known elsewhere.
    weka_verify_ssl: bool = True
    #: `stat` takes the mount's inode numbers, for clusters before 4.3 that resolve no paths.
    weka_inode_source: Literal["resolve", "stat"] = "resolve"


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
    status: str = "ACTIVE"
    full_path: str = ""
    path: str = ""

    @property
    def limit(self) -> int | None:
        """The limit; None where there is none."""
        return self.hard_limit_bytes if 0 < (self.hard_limit_bytes or 0) < NO_LIMIT else None

    @property
    def counted(self) -> bool:
        """Whether everything in the directory is counted, and held."""
        return self.status == "ACTIVE"


class WekaCluster(Struct):
    """How the cluster is."""

    status: str = "unknown"
    release: str = "unknown"


class WekaRates(Struct):
    """What one process of the cluster does now."""

    reads_per_second: float = 0
    writes_per_second: float = 0
    read_bytes_per_second: float = 0
    write_bytes_per_second: float = 0
    read_latency_usecs: float = 0
    write_latency_usecs: float = 0


class WekaApi:
    """Logins and the file system that the options name."""

    def __init__(self, options: WekaOptions) -> None:
        target = options.target(options.weka_endpoint, *options.weka_endpoints)
        self._options = options
        self._refresh: tuple[int, str] | None = None
        self._uid: str | None = None
        self.client = Client(
            target,
            self._sign_in,
            _dialect,
            secrets=(options.weka_password,),
            answer_seconds=options.answer_seconds,
        )

    def get(self, path: str, shape: type[T], /, **query: Any) -> T:  # noqa: ANN401 - JSON values
        """What is in the envelope of an answer."""
        found: _Data[T] = self.client.get(API + path, _Data[shape], **query)  # type: ignore[valid-type] # a type at run time
        return found.data

    def file_system(self) -> WekaFileSystem:
        """The file system, asked anew.

        Raises:
            ConfigurationError: there is none of that name.
        """
        name = self._options.weka_fs_name
        for found in self.get("/fileSystems", list[WekaFileSystem], name=name):
            if found.name == name:
                self._uid = found.uid
                return found
        raise ConfigurationError(f"WEKA has no file system {name!r} that we may see.")

    @property
    def path(self) -> str:
        """Where the file system answers, less the interface's own prefix."""
        return f"/fileSystems/{self._uid or self.file_system().uid}"

    def inode(self, path: str) -> str | None:
        """The inode of a directory, by its path from the top; None where there is none."""
        try:
            found = self.get(f"{self.path}/resolvePath", _Inode, path=f"/{path}")
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return None
        return str(found.inode_id)

    def quota(self, inode: str) -> WekaQuota | None:
        """The quota of a directory; None where it has none."""
        try:
            return self.get(f"{self.path}/quota/{inode}", WekaQuota)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return None

    def quotas(self) -> Iterator[WekaQuota]:
        """Every quota of the file system; old releases answer with an object instead of a list."""
        shape, token = _Data[list[WekaQuota] | dict[str, WekaQuota]], None
        while True:
            page = self.client.get(f"{API}{self.path}/quota", shape, next_token=token)
            yield from page.data.values() if isinstance(page.data, dict) else page.data
            token = page.next_token
            if not token:
                return

    def put_quota(self, inode: str, name: str, limit: int | None) -> None:
        """Set a quota; the same twice is one."""
        body = {"hard_limit_bytes": NO_LIMIT if limit is None else limit, "path": f"/{name}"}
        self.client.send(ArrayRequest("PUT", f"{API}{self.path}/quota/{inode}", body=body))

    def delete_quota(self, inode: str) -> None:
        """Take a quota away; none is fine."""
        try:
            self.client.send(ArrayRequest("DELETE", f"{API}{self.path}/quota/{inode}"))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise

    def _sign_in(self, client: Client) -> Mapping[str, str]:
        """Refresh the login of this process, or log in; the parent's is the parent's."""
        tokens: _WekaTokens | None = None
        if self._refresh and self._refresh[0] == os.getpid():
            body = {"refresh_token": self._refresh[1]}
            with suppress(Expired, ArrayRefused):
                tokens = self._tokens(client, "/login/refresh", body)
        if tokens is None:
            options = self._options
            body = {"username": options.weka_username, "password": options.weka_password}
            try:
                tokens = self._tokens(client, "/login", body | {"org": options.weka_organization})
            except Expired:
                raise ArrayRefused("WEKA does not know this user.", Reason.DENIED) from None
        if tokens.password_change_required:
            raise ArrayRefused("WEKA wants this user's password changed first.", Reason.DENIED)
        self._refresh = (os.getpid(), tokens.refresh_token) if tokens.refresh_token else None
        return {"Authorization": f"Bearer {tokens.access_token}"}

    @staticmethod
    def _tokens(client: Client, path: str, body: Mapping[str, str]) -> _WekaTokens:
        request = ArrayRequest("POST", API + path, body=body, shape=_Data[_WekaTokens])
        found: _Data[_WekaTokens] = client.exchange(request).body
        return found.data


class _WekaRefusal(Struct):
    message: str = ""
    data: Any = None


def _dialect(answer: ArrayAnswer) -> ArrayRefusal | None:
    if answer.status == 401:  # noqa: PLR2004 - HTTP's own number: the token is not good any more
        return None
    plain = unknown(answer)
    try:
        said = msgspec.convert(answer.body, _WekaRefusal)
    except msgspec.ValidationError:
        return plain
    inner = said.data.get("error", "") if isinstance(said.data, dict) else said.data or ""
    words = f"{said.message} {inner}".strip()
    missing = any(mark in words for mark in _MISSING)
    return ArrayRefusal(Reason.NOT_FOUND if missing else plain.reason, "", words)
