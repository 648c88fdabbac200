"""The REST interface of VAST's management system: logins, two shapes of lists, three of errors."""

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct

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
    unknown,
)
from core.errors import ConfigurationError

_TOKEN, _REFRESH = "/api/token/", "/api/token/refresh/"
_SYNCHRONIZED = "SYNCHRONIZED"
_COMPLETED = "COMPLETED"
#: The states in which a task has ended; in every other state it still runs.
_ENDED = frozenset({_COMPLETED, "FAILED"})
#: Lists are requested in pages: VMS cuts long lists silently otherwise.
PAGE_SIZE = 100
#: VMS's text for a path that does not exist.
_MISSING = ("no such", "does not exist")


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
    vast_page_size: int = PAGE_SIZE
    #: Accepted for Backend.AI's storage proxy, without effect here: logins last as long as the
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
    hard_limit: int | None = None
    sync_state: str = _SYNCHRONIZED
    used_effective_capacity: int | None = None

    @property
    def counted(self) -> bool:
        """Return whether everything below the path is counted."""
        return self.sync_state == _SYNCHRONIZED


class VastCluster(Struct):
    """The status of a cluster."""

    state: str = "unknown"
    usable_capacity_bytes: int | None = None
    physical_space: int | None = None
    physical_space_in_use: int | None = None
    rd_iops: float = 0
    wr_iops: float = 0
    rd_bw: float = 0
    wr_bw: float = 0
    rd_latency: float = 0
    wr_latency: float = 0


class _Page(Struct):
    results: list[VastQuota]
    next: str | None = None


class _VastTokens(Struct):
    access: str
    refresh: str = ""


class _TaskLink(Struct):
    id: int


class _Accepted(Struct):
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
        self._options = options
        self._prefix = f"/api/{options.vast_api_version}"
        secrets = (options.vast_password, options.vast_api_token)
        self.client = Client(
            options.target(options.vast_endpoint),
            _by_token(options.vast_api_token) if options.vast_api_token else _by_password(options),
            _dialect,
            secrets=tuple(secret for secret in secrets if secret),
            answer_seconds=options.answer_seconds,
        )

    def cluster(self) -> VastCluster:
        """Return the current status of the cluster."""
        path = f"{self._prefix}/clusters/{self._options.vast_cluster_id}/"
        return self.client.get(path, VastCluster)

    def knows(self, path: str) -> bool | None:
        """Return whether a path exists; None before release 4.7, which cannot be asked."""
        body = {"path": path, **self._tenant()}
        try:
            self.client.send(ArrayRequest("POST", f"{self._prefix}/folders/stat_path/", body=body))
        except ArrayRefused as refusal:
            if refusal.reason not in (Reason.NOT_FOUND, Reason.INVALID):
                raise
            return False if any(mark in refusal.detail.lower() for mark in _MISSING) else None
        return True

    def find(self, path: str) -> VastQuota | None:
        """Return the quota on a path."""
        return next((quota for quota in self._list(path) if quota.path == path), None)

    def make(self, name: str, path: str, limit: int | None) -> None:
        """Create a quota on an existing directory; an existing quota is no error."""
        body = {"name": name, "path": path, "create_dir": False, **self._tenant()}
        if limit is not None:
            body["hard_limit"] = limit
        request = ArrayRequest("POST", f"{self._prefix}/quotas/", body=body, shape=_Accepted)
        try:
            made = self.client.create(request, lambda: self.find(path))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.EXISTS and self.find(path) is None:
                raise
            return
        if isinstance(made, ArrayAnswer):
            self._await(made.body)

    def limit(self, quota: VastQuota, limit: int | None) -> None:
        """Set the limit of a quota; None removes it."""
        path = f"{self._prefix}/quotas/{quota.id}/"
        body = {"hard_limit": limit}
        self._await(self.client.send(ArrayRequest("PATCH", path, body=body, shape=_Accepted)).body)

    def delete(self, quota: VastQuota) -> None:
        """Remove a quota; a missing one is no error."""
        path = f"{self._prefix}/quotas/{quota.id}/"
        answer = self.client.remove(path, _Accepted | None)
        self._await((answer and answer.body) or _Accepted())

    def _list(self, path: str) -> Iterator[VastQuota]:
        query: dict[str, Any] = {"path": path, "page_size": self._options.vast_page_size}
        shape: Any = _Page | list[VastQuota]
        found = self.client.get(f"{self._prefix}/quotas/", shape, **query, **self._tenant())
        while isinstance(found, _Page):
            yield from found.results
            if not found.next:
                return
            parts = urlsplit(found.next)
            if not parts.path.startswith("/api/"):
                raise Lost("VAST's list goes on outside of its interface.")
            found = self.client.get(f"{parts.path}?{parts.query}", shape)
        yield from found

    def _tenant(self) -> dict[str, int]:
        tenant = self._options.vast_tenant_id
        return {} if tenant is None else {"tenant_id": tenant}

    def _await(self, accepted: _Accepted) -> None:
        """Wait for the task of an answer, if there is one."""
        if accepted.async_task is None:
            return
        path, last = f"{self._prefix}/vtasks/{accepted.async_task.id}/", _Task()

        def finished() -> bool:
            nonlocal last
            last = self.client.get(path, _Task)
            return last.state in _ENDED

        jobs.wait(finished)
        if last.state != _COMPLETED:
            raise ArrayRefused(f"VAST's task failed: {' '.join(last.messages)}")


def _by_token(token: str) -> Callable[[Client], Mapping[str, str]]:
    return lambda _: {"Authorization": f"Api-Token {token}"}


def _by_password(options: VastOptions) -> TokenLogin:
    body = {"username": options.vast_username, "password": options.vast_password}

    def log_in(client: Client) -> Tokens:
        request = ArrayRequest("POST", _TOKEN, body=body, shape=_VastTokens)
        found: _VastTokens = client.present(request, "VAST does not know this user.").body
        return Tokens(found.access, found.refresh)

    def renew(client: Client, refresh: str) -> Tokens:
        request = ArrayRequest("POST", _REFRESH, body={"refresh": refresh}, shape=_VastTokens)
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
