"""The count of one quota scope: its vfolders by a walk, its limit's figure, and what is odd."""

import os
from collections import Counter as Tally
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import redis

from backends.base import HasQuota, MountedBackend, QuotaUsage
from backends.entries import take_inventory
from backends.fs import descriptors, layout
from backends.quota import requested_limits, soft_of
from backends.retention import trash
from backends.tree import UsageOptions, measure_tree
from core.errors import JobNotFound, StorageError
from core.jobs import Counter
from core.names import QuotaScope, ScopeKind
from core.quota import Thresholds
from workers.run import Context

#: Usage of a storage system and of a walk differ by metadata; this much is none of interest.
NATIVE_SLACK_BYTES = 1 << 20
#: And this share of what was counted.
NATIVE_SLACK_SHARE = 0.02
LEGACY = "."
#: Hexadecimal digits of a vfolder's id.
_DIGITS = 32


class Deviation(StrEnum):
    """What may be wrong; the words of the report and of `found`."""

    UNKNOWN = "unknown"
    EMPTY_PREFIX = "empty-prefix"
    LEFT_OVER = "left-over"
    METADATA_OF_NOBODY = "metadata-of-nobody"
    LIMIT_OF_NOBODY = "limit-of-nobody"
    FIGURE_OF_NOBODY = "figure-of-nobody"
    LIMIT_CHANGED = "limit-changed"
    DRIFT = "drift"


def scope_named(directory: str) -> QuotaScope:
    """The scope of a directory; its kind is not written there and does not matter below."""
    return QuotaScope(ScopeKind.USER, UUID(directory))


@dataclass(frozen=True, slots=True)
class CountedTree:
    """The volume at work: its backend, a descriptor of its top, and who tells of thresholds."""

    backend: MountedBackend
    root: int
    thresholds: Thresholds


class ScopeCount:
    """One scope of one rescan."""

    def __init__(self, context: Context, place: CountedTree, name: str, *, repair: bool) -> None:
        self._context = context
        self._run = context.run
        self._backend = place.backend
        self._root = place.root
        self._thresholds = place.thresholds
        self._name = name
        self._repair = repair
        self._found: Tally[str] = Tally()
        self._repaired: Tally[str] = Tally()
        self._complete = True

    def __call__(self) -> dict[str, Any]:
        """Count, compare, name, and repair if that was asked.

        Raises:
            FileNotFoundError: the scope went away meanwhile.
        """
        soft = soft_of(self._backend) if self._name != LEGACY else None
        growth = soft.ledger.growth_mark(self._name) if soft else 0
        with descriptors.opened(self._name, self._root) as directory:
            facts = self._count(directory)
            self._look_at_rooms(directory)
        facts |= self._figures(facts, growth) if self._name != LEGACY else {}
        self._run.count(Counter.VERIFIED, 1, facts["size_bytes"])
        return {
            "scope": self._name,
            **facts,
            "found": dict(self._found),
            "repaired": dict(self._repaired),
            "complete": self._complete,
        }

    def _tell(self, odd: Deviation, path: str, why: str) -> None:
        self._found[odd] += 1
        self._context.note(f"{self._name}/{path}" if path else self._name, f"{odd}: {why}")

    # -- Counting ----------------------------------------------------------------------------------
    def _count(self, directory: int) -> dict[str, Any]:
        found = take_inventory(directory, top=self._name == LEGACY)
        for path, reason in found.unreadable:
            self._complete = False
            self._run.fault(f"{self._name}/{path}", reason)
        facts = dict.fromkeys(("vfolders", "entries", "size_bytes", "allocated_bytes"), 0)
        for path in found.vfolders:
            self._add(directory, path, facts)
        for path in found.unknown:
            self._tell(Deviation.UNKNOWN, str(path), "neither a vfolder nor ours; left alone")
        for path in found.empty:
            self._tell(Deviation.EMPTY_PREFIX, str(path), "an empty prefix directory")
            if self._repair:
                descriptors.prune(path, directory, len(path.parts))
                self._repaired[Deviation.EMPTY_PREFIX] += 1
        return facts

    def _add(self, directory: int, path: PurePosixPath, facts: dict[str, int]) -> None:
        self._run.check()
        try:
            with descriptors.opened(path, directory) as top:
                options = UsageOptions(effort=self._context.effort)
                usage = measure_tree(top, control=self._run, options=options)
        except FileNotFoundError:  # deleted meanwhile
            return
        self._complete = self._complete and usage.complete
        facts["vfolders"] += 1
        facts["entries"] += usage.entries
        facts["size_bytes"] += usage.size_bytes
        facts["allocated_bytes"] += usage.allocated_bytes

    # -- Our rooms ---------------------------------------------------------------------------------
    def _look_at_rooms(self, directory: int) -> None:
        """Left-overs of jobs that nobody knows; the sweep removes them once they are old."""
        for room in (layout.STAGING, layout.TRASH, layout.JOBS):
            for name in descriptors.names(PurePosixPath(layout.HIDDEN, room), directory):
                job = name.partition(".")[0]
                if not self._is_known(job) and not self._is_kept(directory, room, job):
                    path = f"{layout.HIDDEN}/{room}/{name}"
                    self._tell(Deviation.LEFT_OVER, path, "of no job that is known")
        self._look_at_metadata(directory)

    def _is_known(self, job: str) -> bool:
        try:
            self._context.store.get(job)
        except JobNotFound:
            return False
        return True

    def _is_kept(self, directory: int, room: str, job: str) -> bool:
        if room != layout.TRASH:
            return False
        with descriptors.opened(PurePosixPath(layout.HIDDEN, room), directory) as trashed:
            return trash.find(trashed, job) is not None

    def _look_at_metadata(self, directory: int) -> None:
        kept = {note.vfolder[-_DIGITS:] for note in self._notes(directory)}
        room = PurePosixPath(layout.HIDDEN, layout.META)
        for name in descriptors.names(room, directory):
            path = PurePosixPath(name[0:2], name[2:4], name[4:])
            if name in kept or len(name) != _DIGITS or descriptors.exists(path, directory):
                continue
            self._tell(Deviation.METADATA_OF_NOBODY, f"{room}/{name}", "its vfolder is gone")
            if self._repair and self._complete:
                with descriptors.opened(room, directory) as metadata:
                    os.unlink(name, dir_fd=metadata)
                self._repaired[Deviation.METADATA_OF_NOBODY] += 1

    def _notes(self, directory: int) -> list[trash.TrashRecord]:
        try:
            with descriptors.opened(PurePosixPath(layout.HIDDEN, layout.TRASH), directory) as room:
                return trash.records(room)
        except FileNotFoundError:
            return []

    # -- Figures -----------------------------------------------------------------------------------
    def _figures(self, facts: dict[str, Any], growth: int) -> dict[str, Any]:
        scope = scope_named(self._name)
        with descriptors.opened(self._name, self._root) as directory:
            trash_bytes = sum(note.size_bytes or 0 for note in self._notes(directory))
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
            drift = self._compare(facts["allocated_bytes"], quota, scope)
        volume = self._backend.mount.volume
        self._thresholds.check(volume, self._name, quota.used_bytes, quota.limit_bytes)
        return known | {
            "used_bytes": quota.used_bytes,
            "limit_bytes": quota.limit_bytes,
            "enforced": quota.enforced,
            "drift_bytes": drift,
        }

    def _correct(self, size_bytes: int, quota: QuotaUsage, growth: int) -> int | None:
        """Give the ledger what was counted; by how much it was off, None where it knew nothing."""
        soft = soft_of(self._backend)
        if soft is None or quota.limit_bytes is None or not self._complete:
            return None
        try:
            before = soft.ledger.record_count(self._name, size_bytes, growth)
        except redis.RedisError as error:
            self._run.fault(self._name, f"the ledger does not answer: {type(error).__name__}")
            self._complete = False
            return None
        drift = None if before is None else before - size_bytes
        if drift:
            self._tell(Deviation.DRIFT, "", f"the ledger was {drift:+,} bytes off; corrected")
            self._repaired[Deviation.DRIFT] += 1
        return drift

    def _compare(self, allocated: int, quota: QuotaUsage, scope: QuotaScope) -> int | None:
        """By how much the storage system's figure is off what a walk finds."""
        wish = requested_limits.find(self._root, scope)
        backend = self._backend
        rounding = backend.skill(HasQuota)
        if wish is not None and rounding is not None:
            wanted = rounding.effective_limit(wish.requested_bytes)
            if quota.limit_bytes != wanted:
                self._tell(
                    Deviation.LIMIT_CHANGED, "", f"{wanted} was asked, {quota.limit_bytes} holds"
                )
                if self._repair and self._complete:
                    backend.set_limit(scope, wish.requested_bytes)
                    self._repaired[Deviation.LIMIT_CHANGED] += 1
        if quota.used_bytes is None or not self._complete:
            return None
        drift = quota.used_bytes - allocated
        if abs(drift) <= max(NATIVE_SLACK_BYTES, allocated * NATIVE_SLACK_SHARE):
            return 0
        self._tell(
            Deviation.DRIFT, "", f"the storage system counts {drift:+,} bytes more than a walk"
        )
        return drift
