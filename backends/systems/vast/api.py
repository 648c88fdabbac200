"""The REST interface of VAST's management system: logins, two shapes of lists, three of errors."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from backends.base import Exceeded
from backends.mounted.rest import (
    ArrayAnswer,
    ArrayOptions,
    ArrayRefusal,
    ArrayRefused,
    ArrayRequest,
    Client,
    Lost,
    Reason,
    TokenLogin,
    Tokens,
    jobs,
    shared,
    unknown,
)
from core.errors import BackendFailed, ConfigurationError

_TOKEN, _REFRESH = "/api/token/", "/api/token/refresh/"
_SYNCHRONIZED = "SYNCHRONIZED"
_EXCEEDED: dict[str, Exceeded] = {
    "SOFT_EXCEEDED": "soft",
    "GRACE_EXPIRED": "hard",
    "HARD_EXCEEDED": "hard",
}
_COMPLETED = "COMPLETED"
#: The states in which a task has ended; in every other state it still runs.
_ENDED = frozenset({_COMPLETED, "FAILED"})
#: Lists are requested in pages: VMS cuts long lists silently otherwise.
PAGE_SIZE = 100
#: VMS's text for a path that does not exist.
_MISSING = ("no such", "does not exist")
#: VMS's text where the trash folder is switched off.
_NO_TRASH = "trash folder disabled"
#: A user of a tenant logs in with the name of the tenant.
_TENANT = "X-Tenant-Name"
T = TypeVar("T")


class VastOptions(ArrayOptions, frozen=True, kw_only=True):
    """Options of a volume on VAST; the prefix `vast_` marks those of Backend.AI's proxy."""

    vast_endpoint: str
    vast_username: str | None = None
    vast_password: str | None = None
    #: Instead of user and password, from 5.3 on.
    vast_api_token: str | None = None
    #: As `verify_tls`, under the name of Backend.AI's storage proxy.
    vast_verify_ssl: bool = True
    vast_api_version: Literal["v1", "v2", "latest"] = "v2"
    vast_cluster_id: int = 1
    #: The path on the array that is mounted.
    vast_storage_base_dir: str = "/"
    vast_tenant_id: int | None = None
    #: The same by its name.
    vast_tenant: str | None = None
    #: Let the cluster remove purged trees, by its trash folder.
    vast_use_trash: bool = True
    #: Let the cluster clone whole vfolders, and how long one clone may take (seconds).
    vast_clones: bool = False
    vast_clone_seconds: float = 300.0
    vast_page_size: int = PAGE_SIZE
    #: VastAccepted for Backend.AI's storage proxy, without effect here: logins last as long as the
    #: array allows, and no status of a cluster is cached.
    vast_force_login: bool = True
    vast_cluster_info_cache_ttl: int = 0

    @property
    def verifies(self) -> bool:
        """See `ArrayOptions.verifies`."""
        return self.verify_tls and self.vast_verify_ssl


class VastQuota(Struct):
    """A quota on a path. VAST enforces the limit on `used_effective_capacity`."""

    id: int
    path: str = ""
    state: str = ""
    tenant_id: int | None = None
    hard_limit: int | None = None
    soft_limit: int | None = None
    hard_limit_inodes: int | None = None
    sync_state: str = _SYNCHRONIZED
    used_effective_capacity: int | None = None
    used_inodes: int | None = None

    @property
    def counted(self) -> bool:
        """Return whether everything below the path is counted."""
        return self.sync_state == _SYNCHRONIZED

    @property
    def exceeded(self) -> Exceeded | None:
        """Return which limit is passed; an end of the grace period refuses writes, too."""
        return _EXCEEDED.get(self.state)


class VastCluster(Struct):
    """The status of a cluster."""

    state: str = "unknown"
    usable_capacity_bytes: int | None = None
    physical_space: int | None = None
    physical_space_in_use: int | None = None
    rd_iops: float | None = None
    wr_iops: float | None = None
    rd_bw: float | None = None
    wr_bw: float | None = None
    rd_latency: float | None = None
    wr_latency: float | None = None


class _Tenant(Struct):
    id: int
    name: str = ""


class _Page(Struct, Generic[T]):
    results: list[T]
    next: str | None = None


class _VastTokens(Struct):
    access: str
    refresh: str = ""


class _TaskLink(Struct):
    id: int


class VastAccepted(Struct):
    """The answer to a change, which may be a task."""

    async_task: _TaskLink | None = None


class _Task(Struct):
    state: str = ""
    messages: list[str] = []


class VastApi:
    """VAST's interface: logins, quotas and the cluster."""

    def __init__(self, options: VastOptions) -> None:
        if not options.vast_api_token and not (options.vast_username and options.vast_password):
            raise ConfigurationError(
                "A volume on VAST needs vast_username and vast_password, or vast_api_token."
            )
        if options.vast_tenant and options.vast_tenant_id is not None:
            raise ConfigurationError(
                "A volume on VAST has vast_tenant or vast_tenant_id, not both."
            )
        self._options = options
        self._tenant_id = options.vast_tenant_id
        self._has_trash = options.vast_use_trash
        self.prefix = f"/api/{options.vast_api_version}"
        self.client = _connect(options)

    def cluster(self) -> VastCluster:
        """Return the current status of the cluster."""
        path = f"{self.prefix}/clusters/{self._options.vast_cluster_id}/"
        return self.client.get(path, VastCluster)

    def knows(self, path: str) -> bool | None:
        """Return whether a path exists; None before release 4.7, which cannot be asked."""
        body = {"path": path, **self.tenant()}
        try:
            self.client.send(ArrayRequest("POST", f"{self.prefix}/folders/stat_path/", body=body))
        except ArrayRefused as refusal:
            if refusal.reason not in (Reason.NOT_FOUND, Reason.INVALID):
                raise
            return False if any(mark in refusal.detail.lower() for mark in _MISSING) else None
        return True

    def trash(self, path: str) -> None:
        """Let VAST remove a tree; it disappears at once. A missing one is fine.

        Does nothing where the trash folder is switched off; that is remembered.
        """
        if not self._has_trash:
            return
        body = {"path": path, **self.tenant()}
        where = f"{self.prefix}/folders/delete_folder/"
        try:
            answer = self.client.send(
                ArrayRequest("DELETE", where, body=body, shape=VastAccepted | None)
            )
        except ArrayRefused as refusal:
            if _NO_TRASH in refusal.detail.lower():
                self._has_trash = False
            elif not any(mark in refusal.detail.lower() for mark in _MISSING):
                raise
            return
        self.finish(answer.body)

    def find(self, path: str) -> VastQuota | None:
        """Return the quota on a path.

        Raises:
            BackendFailed: several tenants have one, and the options name no tenant.
        """
        rows = self.rows("quotas", VastQuota, path=path, **self.tenant())
        found = [quota for quota in rows if quota.path == path and self._is_ours(quota.tenant_id)]
        if len(found) > 1:
            raise BackendFailed(
                "Several tenants of VAST have a quota on this path. Set vast_tenant to ours."
            )
        return found[0] if found else None

    def make(self, name: str, path: str, limits: Mapping[str, int | None]) -> None:
        """Create a quota on an existing directory; an existing quota is no error."""
        given = {field: limit for field, limit in limits.items() if limit is not None}
        body = {"name": name, "path": path, "create_dir": False, **self.tenant(), **given}
        request = ArrayRequest(
            "POST", f"{self.prefix}/quotas/", body=body, shape=VastAccepted | None
        )
        try:
            made = self.client.create(request, lambda: self.find(path))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.EXISTS and self.find(path) is None:
                raise
            return
        if isinstance(made, ArrayAnswer):
            self.finish(made.body)

    def change(self, quota: VastQuota, limits: Mapping[str, int | None]) -> None:
        """Set limits of a quota by their names in VAST; None removes one, others stay."""
        path = f"{self.prefix}/quotas/{quota.id}/"
        request = ArrayRequest("PATCH", path, body=dict(limits), shape=VastAccepted | None)
        self.finish(self.client.send(request).body)

    def delete(self, quota: VastQuota) -> None:
        """Remove a quota; a missing one is no error."""
        answer = self.client.remove(f"{self.prefix}/quotas/{quota.id}/", VastAccepted | None)
        self.finish(answer.body if answer else None)

    def rows(self, kind: str, row: type[T], **query: Any) -> Iterator[T]:  # noqa: ANN401 - filters
        """Return all rows of a list, page by page; old releases answer without pages."""
        page = _Page[row]  # type: ignore[valid-type] # a type at run time
        shape: Any = page | list[row]  # type: ignore[valid-type] # same
        asked = {**query, "page_size": self._options.vast_page_size}
        found = self.client.get(f"{self.prefix}/{kind}/", shape, **asked)
        while isinstance(found, _Page):
            yield from found.results
            if not found.next:
                return
            parts = urlsplit(found.next)
            if not parts.path.startswith("/api/"):
                raise Lost("VAST's list goes on outside of its interface.")
            found = self.client.get(f"{parts.path}?{parts.query}", shape)
        yield from found

    def tenant(self) -> dict[str, int]:
        """Return what a request needs to name our tenant; nothing without one.

        Raises:
            ConfigurationError: no tenant has the name of the options.
        """
        name = self._options.vast_tenant
        if name and self._tenant_id is None:
            found = [one.id for one in self.rows("tenants", _Tenant, name=name) if one.name == name]
            if len(found) != 1:
                raise ConfigurationError(f"VAST has no tenant {name!r} that we may see.")
            self._tenant_id = found[0]
        return {} if self._tenant_id is None else {"tenant_id": self._tenant_id}

    def _is_ours(self, tenant_id: int | None) -> bool:
        return self._tenant_id is None or tenant_id in (None, self._tenant_id)

    def finish(self, answer: VastAccepted | None) -> None:
        """Wait for the task of an answer, if there is one.

        Raises:
            ArrayRefused: the task failed.
        """
        if answer is None or answer.async_task is None:
            return
        number = answer.async_task.id
        path, last = f"{self.prefix}/vtasks/{number}/", _Task()

        def finished() -> bool:
            nonlocal last
            last = self.client.get(path, _Task)
            return last.state.upper() in _ENDED

        jobs.wait(finished)
        if last.state.upper() != _COMPLETED:
            raise ArrayRefused(f"VAST's task {number} failed: {' '.join(last.messages)}")


def _connect(options: VastOptions) -> Client:
    """Return the connection of this process to VMS, which all volumes of its user share."""
    target = options.target(options.vast_endpoint)
    secrets = (options.vast_password, options.vast_api_token)
    who = (options.vast_username, options.vast_tenant, *secrets)
    return shared(
        ("vast", target, *who, options.answer_seconds),
        lambda: Client(
            target,
            _login(options),
            _dialect,
            secrets=tuple(secret for secret in secrets if secret),
            answer_seconds=options.answer_seconds,
        ),
    )


def _login(options: VastOptions) -> Callable[[Client], Mapping[str, str]]:
    token = options.vast_api_token
    sign_in = _by_token(token) if token else _by_password(options)
    named = _tenant_header(options)
    return lambda client: {**sign_in(client), **named}


def _tenant_header(options: VastOptions) -> dict[str, str]:
    return {_TENANT: options.vast_tenant} if options.vast_tenant else {}


def _by_token(token: str) -> Callable[[Client], Mapping[str, str]]:
    return lambda _: {"Authorization": f"Api-Token {token}"}


def _by_password(options: VastOptions) -> TokenLogin:
    body = {"username": options.vast_username, "password": options.vast_password}
    named = _tenant_header(options)

    def log_in(client: Client) -> Tokens:
        request = ArrayRequest("POST", _TOKEN, body=body, headers=named, shape=_VastTokens)
        found: _VastTokens = client.present(request, "VAST does not know this user.").body
        return Tokens(found.access, found.refresh)

    def renew(client: Client, refresh: str) -> Tokens:
        asked = {"refresh": refresh}
        request = ArrayRequest("POST", _REFRESH, body=asked, headers=named, shape=_VastTokens)
        found: _VastTokens = client.exchange(request).body
        return Tokens(found.access, found.refresh)

    return TokenLogin(log_in, renew)


def _dialect(answer: ArrayAnswer) -> ArrayRefusal | None:
    """Parse plain text, `{"detail": …}` or `{"field": ["…"]}`; an invalid token comes as 403."""
    plain, words = unknown(answer), _words(answer.body)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return None
    if answer.status == HTTPStatus.FORBIDDEN and "token" in words.lower():
        return None
    if answer.status == HTTPStatus.BAD_REQUEST and "already exists" in words.lower():
        return ArrayRefusal(Reason.EXISTS, "", words)
    return ArrayRefusal(plain.reason, "", words)


def _words(body: Any) -> str:  # noqa: ANN401 - whatever came
    if isinstance(body, str):
        return body
    if not isinstance(body, dict):
        return ""
    values = [value if isinstance(value, list) else [value] for value in body.values()]
    return " ".join(str(word) for value in values for word in value)
