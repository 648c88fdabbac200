"""Directory quotas of OneFS (SmartQuotas): found by path, counted, limited and removed.

The id of a quota is opaque and changes when it is made again: it is never stored. A directory
has at most two directory quotas: one counts snapshots too, and is never ours.
"""

from typing import Any

from msgspec import Struct, field

from backends.mounted import ArrayUsage, await_limit
from backends.mounted.rest import ArrayRefused, ArrayRequest, Reason
from backends.systems.onefs.connection import Platform
from core.errors import BackendFailed, Conflict

_DIRECTORY = "directory"
#: The figure that limits apply to: the length of data and metadata, without protection.
_FIGURE = "fslogicalsize"
_FIELDS = {
    "fslogicalsize": "fslogical",
    "applogicalsize": "applogical",
    "physicalsize": "fsphysical",
}


class QuotaThresholds(Struct):
    """The limits of a quota; None is none."""

    hard: int | None = None
    soft: int | None = None
    soft_grace: int | None = None
    advisory: int | None = None

    def below(self, hard: int) -> dict[str, int]:
        """Return the thresholds of a new hard limit; an administrator's lower ones stay."""
        wanted = {"hard": hard}
        if self.soft is not None and self.soft_grace is not None and self.soft < hard:
            wanted |= {"soft": self.soft, "soft_grace": self.soft_grace}
        if self.advisory is not None and self.advisory < hard:
            wanted["advisory"] = self.advisory
        return wanted


class DirectoryQuota(Struct):
    """A quota on a directory; `ready` is false while OneFS counts what was there before."""

    id: str
    path: str = ""
    type: str = ""
    enforced: bool = False
    include_snapshots: bool = False
    linked: bool | None = None
    ready: bool = True
    thresholds_on: str | None = None
    thresholds_include_overhead: bool | None = None
    thresholds: QuotaThresholds = field(default_factory=QuotaThresholds)
    usage: dict[str, Any] = {}

    @property
    def limit(self) -> int | None:
        """Return the limit that is enforced; None without one."""
        return (self.thresholds.hard or None) if self.enforced else None

    @property
    def used(self) -> int | None:
        """Return the bytes that the limit applies to; None while they are unknown."""
        if not self.ready:
            return None
        if self.thresholds_on is None:
            name = "physical" if self.thresholds_include_overhead else "logical"
        else:
            name = _FIELDS.get(self.thresholds_on, "")
        found = self.usage.get(name)
        return found if isinstance(found, int) and self.usage.get(f"{name}_ready", True) else None


class _QuotaPage(Struct):
    quotas: list[DirectoryQuota]
    resume: str | None = None


class OneFsQuotas:
    """The directory quotas of one cluster, by the path of the directory."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def available(self) -> bool:
        """Return whether quotas can be made: the licence, and the right to read quotas."""
        licensed = self._platform.licensed("quota")
        if licensed is None:
            self._all(limit=1)
        return licensed is not False

    def held(self, path: str) -> ArrayUsage:
        """Return usage and limit; of two limits on one directory the lower one counts."""
        found = self._on(path)
        ours, tightest = _ours(found), _tightest(found)
        used = ours.used if ours else None
        if tightest is None:
            return ArrayUsage(used)
        return ArrayUsage(used, tightest.limit, "hard" if tightest.ready else None)

    def hold(self, path: str, limit: int | None) -> None:
        """Give a directory a quota with a limit, or one that only counts.

        Raises:
            Conflict: another quota of the directory has a lower limit.
            ArrayRefused: OneFS refused; the text is its own.
        """
        found = self.find(path)
        if found is None:
            self._make(path, limit)
        elif found.limit != limit:
            self._change(found, limit)
        self._await(path, limit)

    def drop(self, path: str) -> bool:
        """Remove the quota of a directory; return whether there was one."""
        found = self.find(path)
        if found is not None:
            self._delete(found)
        return found is not None

    def find(self, path: str) -> DirectoryQuota | None:
        """Return the quota of a directory that counts no snapshots.

        Raises:
            BackendFailed: there are several.
        """
        return _ours(self._on(path))

    def _on(self, path: str) -> list[DirectoryQuota]:
        found = self._all(path=path, type=_DIRECTORY)
        return [quota for quota in found if (quota.path, quota.type) == (path, _DIRECTORY)]

    def _all(self, **query: Any) -> list[DirectoryQuota]:  # noqa: ANN401 - JSON values
        path = self._platform.path("quota/quotas")
        rows = self._platform.rows(
            path,
            _QuotaPage,
            lambda page: (page.quotas, page.resume),
            **query,
            zone=self._platform.zone,
        )
        return list(rows)

    def _make(self, path: str, limit: int | None) -> None:
        body: dict[str, Any] = {
            "path": path,
            "type": _DIRECTORY,
            "include_snapshots": False,
            "enforced": limit is not None,
        }
        if self._platform.names_figure:
            body["thresholds_on"] = _FIGURE
        else:
            body["thresholds_include_overhead"] = False
        if limit is not None:
            body["thresholds"] = {"hard": limit}
        query = {"zone": self._platform.zone}
        request = ArrayRequest("POST", self._platform.path("quota/quotas"), query, body)
        try:
            self._platform.client.create(request, lambda: self.find(path))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.EXISTS or self.find(path) is None:
                raise

    def _change(self, quota: DirectoryQuota, limit: int | None) -> None:
        """Change the limit. A quota that had one cannot count only: it is made again.

        A quota that OneFS derived from the parent's default quota is made independent first.
        """
        if quota.linked:
            self._put(quota, {"linked": False})
        if limit is not None:
            try:
                self._put(quota, {"enforced": True, "thresholds": quota.thresholds.below(limit)})
            except ArrayRefused as refusal:
                if quota.enforced or refusal.reason not in (Reason.INVALID, Reason.EXISTS):
                    raise  # an accounting quota may refuse to become another kind
            else:
                return
        self._delete(quota)
        self._make(quota.path, limit)

    def _put(self, quota: DirectoryQuota, body: dict[str, Any]) -> None:
        path = self._platform.path(f"quota/quotas/{quota.id}")
        try:
            self._platform.client.send(ArrayRequest("PUT", path, body=body))
        except ArrayRefused as refusal:
            if refusal.reason is not Reason.NOT_FOUND:
                raise  # another process has made it again meanwhile: `_await` compares

    def _delete(self, quota: DirectoryQuota) -> None:
        self._platform.client.remove(self._platform.path(f"quota/quotas/{quota.id}"))

    def _await(self, path: str, limit: int | None) -> None:
        found: list[DirectoryQuota] = []

        def counted() -> bool | None:
            nonlocal found
            found = self._on(path)
            ours = _ours(found)
            if ours is None:
                return None
            if ours.limit != limit:
                self._change(ours, limit)
                return None
            return ours.ready

        await_limit(counted)
        tightest = _tightest(found)
        if limit is not None and tightest is not None and tightest.limit != limit:
            raise Conflict(
                "Another quota of the directory, one that counts snapshots, has the lower limit "
                f"of {tightest.limit} bytes."
            )


def _ours(found: list[DirectoryQuota]) -> DirectoryQuota | None:
    """Return the quota that counts no snapshots.

    Raises:
        BackendFailed: there are several.
    """
    mine = [quota for quota in found if not quota.include_snapshots]
    if len(mine) > 1:
        name = mine[0].path.rpartition("/")[2]
        raise BackendFailed(f"OneFS has {len(mine)} quotas of one kind on directory {name}.")
    return mine[0] if mine else None


def _tightest(found: list[DirectoryQuota]) -> DirectoryQuota | None:
    """Return the quota with the lowest limit; None when none has one."""
    limited = [quota for quota in found if quota.limit is not None]
    return min(limited, key=lambda quota: quota.limit or 0, default=None)
