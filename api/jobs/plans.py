"""Plans: how a job would run, what was checked, and every refusal. Nothing is done."""

import time
from typing import Any

from api.jobs.submission import Jobs
from api.volumes import VolumeAccess
from backends.base import Capacity, QuotaUsage
from backends.retention import trash
from backends.transfer import preview_of
from backends.volumes import operations
from core.errors import EntryExists, NoSpace, QuotaExceeded, QuotaScopeNotFound, StorageError
from core.jobs import requests
from core.jobs.requests import CloneRequest, Request, RestoreRequest, TransferRequest
from core.names import VFolderId
from core.quota import LastUsageStore

#: How the bytes of a clone are copied, in the words of docs/design.md.
REFLINK, STREAM, XCP = "reflink", "stream", "xcp"


class JobPlanner:
    """Makes the plans for requests with `plan: true`."""

    def __init__(self, jobs: Jobs, access: VolumeAccess) -> None:
        self._jobs = jobs
        self._access = access
        self._usage = LastUsageStore(jobs.redis)

    def plan(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the plan of a request.

        Raises:
            InvalidParameters: the request itself is invalid.
        """
        request = requests.parse(body)
        refusals: list[dict[str, Any]] = []
        checks: list[dict[str, Any]] = []
        method: str | None = None
        preview: dict[str, Any] | None = None
        try:
            self._jobs.check(request)
        except StorageError as error:
            refusals.append(_refusal(error))
        else:
            checks.append({"check": "names", "outcome": "held"})
            if isinstance(request, CloneRequest):
                method = self._clone(request, checks, refusals)
            elif isinstance(request, TransferRequest):
                method = self._transfer_method(request)
                preview = self._preview(request, refusals)
            elif isinstance(request, RestoreRequest):
                vfolder = VFolderId.parse(request.vfolder)
                needed = self._access.on_volume(
                    request.volume, trash.needed, vfolder, request.trash
                )
                self._quota(request, request.vfolder, needed, checks, refusals)
        return {
            "verb": request.verb,
            "method": method,
            "would_start": not refusals,
            "refusals": refusals,
            "checks": checks,
            "foreseen": preview,
            "waits_for": self._holders(request),
        }

    def _transfer_method(self, request: TransferRequest) -> str:
        by_xcp = request.is_complete and all(
            self._access.on_volume(name, operations.uses_xcp)
            for name in (request.volume, request.home)
        )
        same = request.volume == request.home
        if by_xcp:
            return XCP
        return (
            REFLINK
            if same and self._access.on_volume(request.home, operations.reflinks)
            else STREAM
        )

    def _preview(
        self, request: TransferRequest, refusals: list[dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Return what a short scan finds; None unless this node serves both volumes."""
        now_ms = time.time_ns() // 1_000_000
        seen = self._access.both(
            (request.volume, request.home), lambda a, b: preview_of(request, a, b, now_ms)
        )
        if seen and request.on_conflict == "fail" and (count := seen["noted"].get("conflict")):
            detail = f"The target has {count} conflicting entries; see on_conflict."
            refusals.append(_refusal(EntryExists(detail)))
        return seen

    def _clone(
        self, request: CloneRequest, checks: list[dict[str, Any]], refusals: list[dict[str, Any]]
    ) -> str:
        usage = self._usage.last(request.volume, VFolderId.parse(request.source)) or {}
        needed: int | None = usage.get("allocated_bytes")
        free = _free(self._access.on_volume(request.home, operations.capacity))
        outcome = "unchecked"
        if needed is not None and free is not None:
            outcome = "held" if needed <= free else "refused"
        checks.append(
            {
                "check": "room",
                "outcome": outcome,
                "needed_bytes": needed,
                "free_bytes": free,
                "as_of": usage.get("as_of"),
            },
        )
        if outcome == "refused":
            detail = f"The clone needs {needed} bytes; the volume has {free} free."
            refusals.append(_refusal(NoSpace(detail)))
        self._quota(request, request.target, usage.get("used_bytes"), checks, refusals)
        same = request.volume == request.home
        return (
            REFLINK
            if same and self._access.on_volume(request.home, operations.reflinks)
            else STREAM
        )

    def _quota(
        self,
        request: Request,
        vfolder: str,
        needed: int | None,
        checks: list[dict[str, Any]],
        refusals: list[dict[str, Any]],
    ) -> None:
        """Whether the scope that will own it has room under its limit."""
        scope = VFolderId.parse(vfolder).scope
        if scope is None:
            return
        try:
            quota = self._access.on_volume(request.home, operations.describe_scope, scope)
        except QuotaScopeNotFound:  # made with the copy, without a limit
            quota = QuotaUsage()
        outcome, left = "held", None
        if quota.limit_bytes is not None:
            left = None if quota.used_bytes is None else quota.limit_bytes - quota.used_bytes
            unknown = left is None or needed is None
            outcome = "unchecked" if unknown else "held" if needed <= left else "refused"  # type: ignore[operator] # both known
        checks.append(
            {"check": "quota", "outcome": outcome, "needed_bytes": needed, "left_bytes": left}
        )
        if outcome == "refused":
            detail = f"The quota scope has {max(left or 0, 0)} bytes left; the job needs {needed}."
            refusals.append(_refusal(QuotaExceeded(detail)))

    def _holders(self, request: Request) -> list[str]:
        """Return the ids of the live jobs that this one would wait for, the oldest ones."""
        return self._jobs.lists.holders(request.locks())


def _free(space: Capacity) -> int | None:
    if space.capacity_bytes is None or space.used_bytes is None:
        return None
    return space.capacity_bytes - space.used_bytes


def _refusal(error: StorageError) -> dict[str, Any]:
    return {"error_code": error.error_code, "status": error.status, "detail": error.detail}
