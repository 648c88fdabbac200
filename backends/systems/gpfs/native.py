"""One file system of a Storage Scale cluster by its native REST API (v3).

Written from IBM's pages of the endpoints (5.2.3 and 6.0.1). What those pages do not show is unknown
here, never guessed: whether limits are enforced, the sizes of pools, the fields of snapshots.
"""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from backends.base import HardwareInfo, HardwareStatus
from backends.mounted.rest import (
    ArrayAnswer,
    ArrayRefusal,
    ArrayRefused,
    ArrayRequest,
    Busy,
    Client,
    Reason,
    basic_login,
    basic_token,
    body_as,
    jobs,
    shared,
    unknown,
)
from backends.systems.gpfs.interface import (
    FilesetNotEmpty,
    FilesetQuota,
    LimitKind,
    LimitPair,
    ScaleFileset,
    ScaleFileSystem,
    ScaleInterface,
    exceeded,
)
from backends.systems.gpfs.options import GpfsOptions
from core.errors import BackendFailed, ConfigurationError

API = "/scalemgmt/v3"
#: Read to check the credentials.
_VERSION = f"{API}/version"
#: The domain of roles that a request is authorized in; the cluster has a default.
DOMAIN_HEADER = "X-StorageScaleDomain"
FILESET_QUOTA = "QUOTA_TYPE_FILESET"
_PAGE_ROWS = 1000
#: Pauses grow up to this (seconds): an operation takes seconds.
_LONGEST_PAUSE_SECONDS = 4.0
#: Paths of a fileset that is not linked.
_NOT_LINKED = (None, "", "--")
_NOT_EMPTY = "not empty"
_RUNNING = "RUNNING"
#: The codes of gRPC, by name, that an operation ends with.
_REASONS = {
    "NOT_FOUND": Reason.NOT_FOUND,
    "ALREADY_EXISTS": Reason.EXISTS,
    "INVALID_ARGUMENT": Reason.INVALID,
    "PERMISSION_DENIED": Reason.DENIED,
    "UNAVAILABLE": Reason.BUSY,
    "ABORTED": Reason.BUSY,
}
#: Numbers of 64 bits are digits in a string; some answers have them as numbers.
_Number = int | str | None
T = TypeVar("T")
R = TypeVar("R", bound="_Named")


class _NativeFailure(Struct):
    message: str = ""
    status: str = ""
    httpcode: int = 0


class _NativeOperation(Struct):
    """A long-running operation: the answer to changes, and to some reads."""

    name: str
    done: bool = False
    error: _NativeFailure | None = None
    response: dict[str, Any] | None = None


class _Named(Struct):
    name: str = ""


class _NativeFileset(_Named):
    path: str | None = None


class _NativeFilesets(Struct):
    filesets: list[_NativeFileset] = field(default_factory=list)
    next_page_token: str = ""


class _NativeFileSystem(Struct):
    name: str
    block_size: _Number = None
    default_mount_point: str = ""


class _NativeQuota(_Named):
    type: str = ""
    block_usage_bytes: _Number = None
    block_soft_limit_bytes: _Number = None
    block_hard_limit_bytes: _Number = None
    block_grace: str = ""
    file_usage: _Number = None
    file_soft_limit: _Number = None
    file_hard_limit: _Number = None
    file_grace: str = ""

    @property
    def known(self) -> FilesetQuota:
        """Return it as the backend knows it."""
        return FilesetQuota(
            used_bytes=_count(self.block_usage_bytes),
            block=_pair(self.block_soft_limit_bytes, self.block_hard_limit_bytes),
            used_inodes=_count(self.file_usage),
            files=_pair(self.file_soft_limit, self.file_hard_limit),
            exceeded=exceeded(self.block_grace, self.file_grace),
        )


class _NativeQuotas(Struct):
    quotas: list[_NativeQuota] = field(default_factory=list)
    next_page_token: str = ""


class _NativeService(Struct):
    node_name: str = ""
    service: str = ""
    service_status: str = ""
    message: str = ""


class _NativeServices(Struct):
    apihealth: list[_NativeService] = field(default_factory=list)
    next_page_token: str = ""


class NativeInterface(ScaleInterface):
    """The native REST API (v3) of the API nodes."""

    sets_owner = False

    def __init__(self, options: GpfsOptions) -> None:
        self._options = options
        self._fs = f"{API}/filesystems/{quote(options.gpfs_fs_name, safe='')}"
        self._headers = {DOMAIN_HEADER: options.gpfs_domain} if options.gpfs_domain else None
        user, password = options.gpfs_username or "", options.gpfs_password or ""
        token = basic_token(user, password)
        target = options.target(options.gpfs_endpoint or "", *options.gpfs_endpoints)
        key = ("gpfs v3", target, token, options.answer_seconds)

        def make() -> Client:
            return Client(
                target,
                basic_login(token, _VERSION),
                _dialect,
                secrets=(password, token),
                answer_seconds=options.answer_seconds,
            )

        self._client = shared(key, make)

    def file_system(self) -> ScaleFileSystem:
        """See `ScaleInterface.file_system`; who is held to limits is unknown."""
        found = self._find(self._fs, _NativeFileSystem)
        block = _count(found.block_size) if found else None
        if found is None or not block:
            name = self._options.gpfs_fs_name
            raise ConfigurationError(f"Storage Scale has no file system {name!r} that we may see.")
        return ScaleFileSystem(
            mount_point=found.default_mount_point,
            block_bytes=block,
            enforced=None,
            per_fileset=False,
            holds_root=None,
        )

    def fileset(self, name: str) -> ScaleFileset | None:
        """See `ScaleInterface.fileset`."""
        found = self._find(self._of(name), _NativeFileset)
        if found is not None and found.name != name:
            raise BackendFailed("Storage Scale's answer is not about the fileset that was asked.")
        return None if found is None else _fileset(found)

    def linked_at(self, path: str) -> ScaleFileset | None:
        """See `ScaleInterface.linked_at`."""
        found: _NativeFileset | None = self._row(
            f"{self._fs}/filesets",
            _NativeFilesets,
            lambda page: page.filesets,
            lambda row: row.path == path,
        )
        return None if found is None else _fileset(found)

    def create(self, name: str, path: str, owner: str) -> None:
        """See `ScaleInterface.create`; the new directory belongs to root."""
        del path, owner
        options = self._options
        body: dict[str, Any] = {"name": name, "inode_space_designation": options.gpfs_inode_space}
        if options.gpfs_max_inodes is not None:
            body["max_inodes"] = f"{options.gpfs_max_inodes}"
        if options.gpfs_alloc_inodes is not None:
            body["alloc_inodes"] = f"{options.gpfs_alloc_inodes}"
        request = ArrayRequest("POST", f"{self._fs}/filesets", body=body)
        self._change(request, lambda: self.fileset(name) is not None)

    def link(self, name: str, path: str) -> None:
        """See `ScaleInterface.link`."""
        request = ArrayRequest("POST", f"{self._of(name)}:link", body={"junction_path": path})
        self._change(request, lambda: self._path_of(name) == path)

    def unlink(self, name: str) -> None:
        """See `ScaleInterface.unlink`."""
        request = ArrayRequest("POST", f"{self._of(name)}:unlink", body={"force": False})
        self._change(request, lambda: self._path_of(name) is None)

    def delete(self, name: str) -> None:
        """See `ScaleInterface.delete`."""
        request = ArrayRequest("DELETE", self._of(name))
        try:
            self._change(request, lambda: self.fileset(name) is None)
        except ArrayRefused as refusal:
            if refusal.reason is Reason.NOT_FOUND:
                return
            if _NOT_EMPTY in refusal.detail.lower():
                raise FilesetNotEmpty(refusal.detail) from None
            raise

    def quota(self, name: str) -> FilesetQuota:
        """See `ScaleInterface.quota`; reads the list of the file system until the fileset comes."""
        found = self._quota_row(name)
        return FilesetQuota() if found is None else found.known

    def set_limits(
        self, name: str, kind: LimitKind, limits: LimitPair, *, per_fileset: bool
    ) -> None:
        """See `ScaleInterface.set_limits`: bytes, as digits; limits of the other kind as read."""
        del per_fileset
        row = self._quota_row(name)
        known = FilesetQuota() if row is None else row.known
        block, files = (limits, known.files) if kind == "block" else (known.block, limits)
        body = {
            "name": name,
            "type": FILESET_QUOTA,
            "block_soft_limit_bytes": f"{block.soft or 0}",
            "block_hard_limit_bytes": f"{block.hard or 0}",
        }
        if kind == "files" or row is None or row.file_hard_limit is not None:
            body["file_soft_limit"] = f"{files.soft or 0}"
            body["file_hard_limit"] = f"{files.hard or 0}"
        request = ArrayRequest("PUT", f"{self._fs}/quotas", body={"quota": body})
        self._change(request, lambda: getattr(self.quota(name), kind) == limits)

    def has_directory(self, mount_point: str, path: str) -> bool:
        """See `ScaleInterface.has_directory`."""
        del mount_point
        place = f"{self._fs}/directory/{quote(path, safe='')}:stat"
        return self._find(place, dict[str, Any]) is not None

    def health(self) -> HardwareInfo:
        """See `ScaleInterface.health`: of the services of the API nodes."""
        pages = self._pages(f"{API}/apihealth", _NativeServices)
        rows = [row for page in pages for row in page.apihealth]
        if not rows:
            raise BackendFailed("Storage Scale lists no service of its API nodes.")
        ill = [row for row in rows if row.service_status != _RUNNING]
        metadata = {"services": str(len(rows)), "services_not_running": str(len(ill))}
        if not ill:
            return HardwareInfo(HardwareStatus.HEALTHY, None, metadata)
        words = [f"{one.service} on {one.node_name} is {one.service_status}" for one in ill]
        return HardwareInfo(HardwareStatus.DEGRADED, f"{'; '.join(words)}.", metadata)

    # -- Requests ------------------------------------------------------------------------------
    def _quota_row(self, name: str) -> _NativeQuota | None:
        return self._row(
            f"{self._fs}/quotas",
            _NativeQuotas,
            lambda page: page.quotas,
            lambda row: (row.name, row.type) == (name, FILESET_QUOTA),
        )

    def _row(
        self,
        path: str,
        shape: type[T],
        rows: Callable[[T], list[R]],
        is_wanted: Callable[[R], bool],
    ) -> R | None:
        """Return a row of a list; None when the list does not have it.

        A row may move to a page that was read already, while others come and go. So a list of
        several pages lacks a row only when two reads in a row have the same names.
        """
        before: list[str] | None = None
        while True:
            names, pages = list[str](), 0
            for page in self._pages(path, shape):
                pages += 1
                for row in rows(page):
                    if is_wanted(row):
                        return row
                    names.append(row.name)
            if pages == 1 or names == before:
                return None
            before = names

    def _pages(self, path: str, shape: type[T]) -> Iterator[T]:
        """Yield the pages of a list."""
        token = ""
        while True:
            query: dict[str, Any] = {"page_size": _PAGE_ROWS}
            if token:
                query["page_token"] = token
            page = _as(self._answer_of(ArrayRequest("GET", path, query)), shape)
            yield page
            token = getattr(page, "next_page_token", "")
            if not token:
                return

    def _find(self, path: str, shape: type[T]) -> T | None:
        """Return what is at a path; None when the cluster says that it is not there."""
        try:
            return _as(self._answer_of(ArrayRequest("GET", path)), shape)
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise
            return None

    def _answer_of(self, request: ArrayRequest) -> dict[str, Any]:
        """Return the answer to a read, which may be that of an operation."""
        found: list[dict[str, Any]] = []

        def finished() -> bool:
            try:
                body: dict[str, Any] = self._client.send(self._with_domain(request)).body
                operation = _operation(body)
                ended = None if operation is None else self._ended(operation)
            except Busy:
                return False
            if operation is None:
                found.append(body)
            elif ended is not None:
                found.append(ended.response or {})
            return bool(found)  # a read whose operation was forgotten is made again

        jobs.wait(finished, _LONGEST_PAUSE_SECONDS)
        return found[0]

    def _change(self, request: ArrayRequest, effect: Callable[[], bool]) -> None:
        """Make a change, and wait for its operation; `effect` decides what no answer tells.

        Raises:
            ArrayRefused: the operation failed, and its effect is not there.
        """
        asked = self._with_domain(request)

        def finished() -> bool:
            try:
                answer = self._client.create(asked, lambda: effect() or None)
                operation = _operation(answer.body) if isinstance(answer, ArrayAnswer) else None
                if operation is not None:
                    self._finish(operation, effect)
            except Busy:
                return effect()
            except ArrayRefused as refusal:
                if refusal.reason is Reason.DENIED or not effect():
                    raise
            return True

        jobs.wait(finished, _LONGEST_PAUSE_SECONDS)

    def _finish(self, operation: _NativeOperation, effect: Callable[[], bool]) -> None:
        """Wait for the operation of a change; one that the cluster forgot is known by its effect.

        Raises:
            As `_ended`.
        """
        if self._ended(operation) is None and not effect():
            raise ArrayRefused(
                f"Storage Scale has forgotten operation {operation.name}, and it had no effect."
            )

    def _ended(self, operation: _NativeOperation) -> _NativeOperation | None:
        """Wait for an operation; None when the cluster does not know it any more.

        Raises:
            Busy: it failed since the cluster was busy.
            ArrayRefused: it failed.
        """
        last: list[_NativeOperation | None] = [operation]
        path = f"{API}/operations/{quote(operation.name, safe='')}"
        asked = self._with_domain(ArrayRequest("GET", path))

        def finished() -> bool:
            if last[-1] is None or last[-1].done:
                return True
            try:
                last.append(_as(self._client.send(asked).body, _NativeOperation))
            except ArrayRefused as refusal:
                if refusal.reason is not Reason.NOT_FOUND:
                    raise
                last.append(None)
            return last[-1] is None or last[-1].done

        jobs.wait(finished, _LONGEST_PAUSE_SECONDS)
        ended = last[-1]
        if ended is not None and ended.error is not None:
            raise _failure(ended.name, ended.error)
        return ended

    def _with_domain(self, request: ArrayRequest) -> ArrayRequest:
        return ArrayRequest(
            request.method,
            request.path,
            request.query,
            request.body,
            headers=self._headers,
            shape=dict[str, Any],
        )

    def _path_of(self, name: str) -> str | None:
        found = self.fileset(name)
        return found.path if found else None

    def _of(self, name: str) -> str:
        return f"{self._fs}/filesets/{quote(name, safe='')}"


def _fileset(found: _NativeFileset) -> ScaleFileset:
    return ScaleFileset(found.name, None if found.path in _NOT_LINKED else found.path)


def _operation(body: object) -> _NativeOperation | None:
    """Return the operation that an answer is; None when it is something else."""
    if not isinstance(body, dict) or not ({"done", "metadata"} & body.keys()):
        return None
    return _as(body, _NativeOperation)


def _failure(name: str, error: _NativeFailure) -> ArrayRefused | Busy:
    reason = _REASONS.get(error.status)
    if reason is None and error.httpcode == HTTPStatus.NOT_FOUND:
        reason = Reason.NOT_FOUND
    words = error.message or f"it ended as {error.status or 'failed'}"
    detail = f"Storage Scale's operation {name} failed: {words}"
    if reason is Reason.BUSY:
        return Busy(detail)
    return ArrayRefused(detail, reason or Reason.FAILED, error.status)


def _as(body: object, shape: type[T]) -> T:
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        raise BackendFailed(f"The answer of Storage Scale cannot be read: {error}") from None


def _count(number: _Number) -> int | None:
    if isinstance(number, str):
        return int(number) if number.isascii() and number.isdigit() else None
    return number


def _pair(soft: _Number, hard: _Number) -> LimitPair:
    return LimitPair(_count(soft) or None, _count(hard) or None)


class _NativeRefusal(Struct):
    code: int
    message: str = ""


def _dialect(answer: ArrayAnswer) -> ArrayRefusal | None:
    """Parse a refusal: 401 is a wrong password.

    Only the interface's own answer says that something is not there: a proxy has a 404, too.
    """
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return None
    plain, said = unknown(answer), body_as(answer, _NativeRefusal)
    if said is None:
        absent = plain.reason is Reason.NOT_FOUND
        return ArrayRefusal(Reason.FAILED if absent else plain.reason, "", plain.words)
    return ArrayRefusal(plain.reason, f"{said.code}", said.message)
