"""The count of one quota scope: its vfolders, the usage its limit applies to, its deviations."""

import os
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from backends.base import HasInodeLimits, HasQuota, HasSoftLimits, MountedBackend, QuotaUsage
from backends.entries import HasObjects, take_inventory
from backends.fs import descriptors, layout
from backends.quota import VFolderCount, begin_count, ledger_of, requested_limits, soft_of
from backends.retention import trash
from backends.tree import Usage, UsageOptions, measure_tree
from core.errors import JobNotFound, StorageError, VFolderNotFound
from core.jobs import Counter
from core.names import QuotaScope, ScopeKind, VFolderId
from core.quota import Thresholds
from workers.run import Context

#: The usage that a storage system reports includes metadata; a difference up to this is normal.
NATIVE_SLACK_BYTES = 1 << 20
#: And a difference up to this share of what the walk counted.
NATIVE_SLACK_SHARE = 0.02
LEGACY = "."
#: Hexadecimal digits of a vfolder's id.
_DIGITS = 32


class Deviation(StrEnum):
    """What may be wrong; the values stand in the report and in the result's `found`."""

    UNKNOWN = "unknown"
    EMPTY_PREFIX = "empty-prefix"
    LEFT_OVER = "left-over"
    ORPHANED_METADATA = "metadata-of-nobody"
    ORPHANED_RECORD = "orphaned-record"
    RECORD_FORGED = "record-forged"
    ORPHANED_LIMIT = "limit-of-nobody"
    ORPHANED_USAGE = "figure-of-nobody"
    LIMIT_CHANGED = "limit-changed"
    DRIFT = "drift"


def scope_named(directory: str) -> QuotaScope:
    """Return the scope of a directory. Its kind is not stored there; the callees do not need it."""
    return QuotaScope(ScopeKind.USER, UUID(directory))


@dataclass(frozen=True, slots=True)
class VolumeToCount:
    """The volume: its backend, a descriptor of its top, and what publishes its thresholds."""

    backend: MountedBackend
    root: int
    thresholds: Thresholds


class ScopeCount:
    """The count of one scope in one rescan."""

    def __init__(
        self,
        context: Context,
        volume: VolumeToCount,
        name: str,
        repairs: Callable[[Deviation], bool],
    ) -> None:
        self._context = context
        self._run = context.run
        self._backend = volume.backend
        self._root = volume.root
        self._thresholds = volume.thresholds
        self._name = name
        self._repairs = repairs
        self._found: Tally[str] = Tally()
        self._repaired: Tally[str] = Tally()
        self._complete = True

    def __call__(self) -> dict[str, Any]:
        """Count, compare, report deviations, and repair them if the request says so.

        Raises:
            FileNotFoundError: the scope was deleted meanwhile.
        """
        soft = ledger_of(self._backend) if self._name != LEGACY else None
        growth = 0
        if soft is not None:
            ledger = soft.ledger
            growth = self._run.patiently(lambda: ledger.growth_mark(self._name))
        with descriptors.opened(self._name, self._root) as directory:
            facts = self._count(directory)
            self._check_hidden_directories(directory)
        facts |= self._figures(facts, growth) if self._name != LEGACY else {}
        self._run.count(Counter.VERIFIED, 1, facts["size_bytes"])
        return {
            "scope": self._name,
            **facts,
            "found": dict(self._found),
            "repaired": dict(self._repaired),
            "complete": self._complete,
        }

    def _report(self, kind: Deviation, path: str, why: str) -> None:
        self._found[kind] += 1
        self._context.note(f"{self._name}/{path}" if path else self._name, f"{kind}: {why}")

    # -- Counting ----------------------------------------------------------------------------------
    def _count(self, directory: int) -> dict[str, Any]:
        inventory = take_inventory(directory, top=self._name == LEGACY)
        for path, reason in inventory.unreadable:
            self._complete = False
            self._run.fault(f"{self._name}/{path}", reason)
        facts = dict.fromkeys(("vfolders", "entries", "size_bytes", "allocated_bytes"), 0)
        for path in inventory.vfolders:
            self._add(directory, path, facts)
        for path in inventory.unknown:
            self._report(Deviation.UNKNOWN, str(path), "neither a vfolder nor ours; not touched")
        for path in inventory.empty:
            self._report(Deviation.EMPTY_PREFIX, str(path), "an empty prefix directory")
            if self._repairs(Deviation.EMPTY_PREFIX):
                descriptors.prune(path, directory, len(path.parts))
                self._repaired[Deviation.EMPTY_PREFIX] += 1
        return facts

    def _add(self, directory: int, path: PurePosixPath, facts: dict[str, int]) -> None:
        self._run.check()
        count = self._begin_count(path)
        try:
            usage = self._measured(directory, path)
        except (FileNotFoundError, VFolderNotFound):  # deleted meanwhile, or without objects
            return
        self._complete = self._complete and usage.complete
        if count is not None and usage.complete:
            count.end(usage.size_bytes)
        facts["vfolders"] += 1
        facts["entries"] += usage.entries
        facts["size_bytes"] += usage.size_bytes
        facts["allocated_bytes"] += usage.allocated_bytes

    def _begin_count(self, path: PurePosixPath) -> VFolderCount | None:
        """Begin the count of a vfolder for its account; None for one without a limit."""
        scope = None if self._name == LEGACY else scope_named(self._name)
        vfolder = VFolderId(scope, UUID("".join(path.parts)))
        return begin_count(self._backend, vfolder)

    def _measured(self, directory: int, path: PurePosixPath) -> Usage:
        if objects := self._backend.skill(HasObjects):
            return objects.tree_at(path, directory).usage(lambda _: self._run.check())
        with descriptors.opened(path, directory) as top:
            options = UsageOptions(effort=self._context.effort)
            return measure_tree(top, control=self._run, options=options)

    # -- Hidden directories ------------------------------------------------------------------------
    def _check_hidden_directories(self, directory: int) -> None:
        """Report what unknown jobs left; the sweep removes it once it is old enough."""
        for area in (layout.STAGING, layout.TRASH, layout.JOBS):
            for name in descriptors.names(PurePosixPath(layout.HIDDEN, area), directory):
                job = name.partition(".")[0]
                if not self._is_known(job) and not self._is_kept(directory, area, job):
                    path = f"{layout.HIDDEN}/{area}/{name}"
                    self._report(Deviation.LEFT_OVER, path, "of no known job")
        self._check_metadata(directory)

    def _is_known(self, job: str) -> bool:
        try:
            self._context.store.get(job)
        except JobNotFound:
            return False
        return True

    def _is_kept(self, directory: int, area: str, job: str) -> bool:
        if area != layout.TRASH:
            return False
        with descriptors.opened(PurePosixPath(layout.HIDDEN, area), directory) as trashed:
            return trash.find(trashed, job) is not None

    def _check_metadata(self, directory: int) -> None:
        kept = {record.vfolder[-_DIGITS:] for record in self._trash_records(directory)}
        area = PurePosixPath(layout.HIDDEN, layout.META)
        for name in descriptors.names(area, directory):
            path = PurePosixPath(name[0:2], name[2:4], name[4:])
            if name in kept or len(name) != _DIGITS or descriptors.exists(path, directory):
                continue
            self._report(Deviation.ORPHANED_METADATA, f"{area}/{name}", "its vfolder is gone")
            if self._repairs(Deviation.ORPHANED_METADATA) and self._complete:
                with descriptors.opened(area, directory) as metadata:
                    os.unlink(name, dir_fd=metadata)
                self._repaired[Deviation.ORPHANED_METADATA] += 1

    def _trash_records(self, directory: int) -> list[trash.TrashRecord]:
        try:
            area = PurePosixPath(layout.HIDDEN, layout.TRASH)
            with descriptors.opened(area, directory) as trashed:
                return trash.records(trashed)
        except FileNotFoundError:
            return []

    # -- Figures -----------------------------------------------------------------------------------
    def _figures(self, facts: dict[str, Any], growth: int) -> dict[str, Any]:
        scope = scope_named(self._name)
        with descriptors.opened(self._name, self._root) as directory:
            trash_bytes = sum(record.size_bytes or 0 for record in self._trash_records(directory))
        known = {"trash_bytes": trash_bytes}
        try:
            quota = self._backend.describe_scope(scope)
        except StorageError as error:
            self._complete = False
            self._run.fault(self._name, error.detail)
            return known
        if soft_of(self._backend) is not None:
            drift = self._correct(facts["size_bytes"], quota, growth)
            quota = self._backend.describe_scope(scope)
        else:
            self._count_for_total(facts["size_bytes"], growth)
            drift = self._compare(facts["allocated_bytes"], quota, scope)
        volume = self._backend.mount.volume
        self._thresholds.check(volume, self._name, quota.used_bytes, quota.limit_bytes)
        soft = ledger_of(self._backend)
        if soft is not None and (total := soft.total(self._name)) is not None:
            soft.publish_total(total)
        return known | {
            "used_bytes": quota.used_bytes,
            "limit_bytes": quota.limit_bytes,
            "enforced": quota.enforced,
            "drift_bytes": drift,
        }

    def _correct(self, size_bytes: int, quota: QuotaUsage, growth: int) -> int | None:
        """Store the count in the ledger; return its former error, None where it had no figure."""
        soft = soft_of(self._backend)
        if soft is None or not self._complete:
            return None
        if quota.limit_bytes is None and soft.total(self._name) is None:
            return None
        ledger = soft.ledger
        before = self._run.patiently(lambda: ledger.record_count(self._name, size_bytes, growth))
        drift = None if before is None else before - size_bytes
        if drift:
            self._report(Deviation.DRIFT, "", f"the ledger was {drift:+,} bytes off; corrected")
            self._repaired[Deviation.DRIFT] += 1
        return drift

    def _count_for_total(self, size_bytes: int, growth: int) -> None:
        """Store the count where a total needs it, though the storage system limits the scope."""
        soft = ledger_of(self._backend)
        if soft is not None and self._complete and soft.total(self._name) is not None:
            ledger = soft.ledger
            self._run.patiently(lambda: ledger.record_count(self._name, size_bytes, growth))

    def _compare_limits(self, quota: QuotaUsage, scope: QuotaScope) -> None:
        """Report limits that are not those of the requests, and set them again."""
        request = requested_limits.find(self._root, scope)
        backend = self._backend
        rounding = backend.skill(HasQuota)
        if request is None or rounding is None:
            return
        if wanted := request.requested_bytes:
            expected = rounding.effective_limit(wanted)
            self._restore(
                "bytes", expected, quota.limit_bytes, lambda: backend.set_limit(scope, wanted)
            )
        inodes, most = backend.skill(HasInodeLimits), request.limit_inodes
        if inodes is not None and most is not None:
            self._restore(
                "inodes", most, quota.limit_inodes, lambda: inodes.set_inode_limit(scope, most)
            )
        soft, near = backend.skill(HasSoftLimits), request.soft_limit_bytes
        if soft is not None and near is not None:
            expected, found = rounding.effective_limit(near), quota.soft_limit_bytes
            self._restore("bytes (soft)", expected, found, lambda: soft.set_soft_limit(scope, near))

    def _restore(
        self, unit: str, expected: int, found: int | None, restore: Callable[[], None]
    ) -> None:
        if found == expected:
            return
        now = "none" if found is None else found
        why = f"a limit of {expected} {unit} was requested, {now} is set"
        self._report(Deviation.LIMIT_CHANGED, "", why)
        if self._repairs(Deviation.LIMIT_CHANGED) and self._complete:
            restore()
            self._repaired[Deviation.LIMIT_CHANGED] += 1

    def _compare(self, allocated: int, quota: QuotaUsage, scope: QuotaScope) -> int | None:
        """Return by how much the storage system's usage differs from the walk's, if it is known."""
        self._compare_limits(quota, scope)
        if quota.used_bytes is None or not self._complete:
            return None
        drift = quota.used_bytes - allocated
        if abs(drift) <= max(NATIVE_SLACK_BYTES, allocated * NATIVE_SLACK_SHARE):
            return 0
        self._report(
            Deviation.DRIFT, "", f"the storage system counts {drift:+,} bytes more than a walk"
        )
        return drift
