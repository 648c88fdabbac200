"""The requests for the upkeep of a volume: trash, counts, snapshots."""

from typing import Literal
from uuid import UUID

from core.jobs.job import Lane
from core.jobs.requests.base import Lock, Request, SingleVFolderRequest, invalid_field, lock_key
from core.names import QuotaScope, VFolderId


def _check_id(name: str, text: str) -> None:
    try:
        known = str(UUID(text)) == text
    except ValueError:
        known = False
    if not known:
        raise invalid_field(name, "is the id of the job that deleted it")


class RestoreRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="restore"):
    """Restore a deleted vfolder: from its newest deletion, or from that of the job `trash`.

    With `entries` it is entries of a vfolder that come back: those that the job `trash` removed.
    """

    trash: str | None = None
    entries: bool = False

    def needs(self) -> list[str]:
        """Return the vfolder, where entries of it come back."""
        return [lock_key(self.volume, self.vfolder)] if self.entries else []

    def makes(self) -> list[str]:
        """Return the vfolder, where it comes back itself."""
        return [] if self.entries else [lock_key(self.volume, self.vfolder)]

    def validate(self) -> None:
        """Check the ids."""
        super().validate()
        if self.trash is not None:
            _check_id("trash", self.trash)
        if self.entries and self.trash is None:
            raise invalid_field("trash", "names the job that removed the entries")


class PurgeRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="purge"):
    """Remove the bytes of a deleted vfolder, or of removed entries. They cannot be restored then.

    With `entries` nothing but entries is removed.
    """

    trash: str
    entries: bool = False

    def natural_key(self) -> str:
        """Return the deletion: there is one purge per deletion."""
        return f"{self.volume}/{self.trash}"

    def validate(self) -> None:
        """Check the ids."""
        super().validate()
        _check_id("trash", self.trash)


#: The kinds of deviations that a rescan can put right; the others are only reported.
REPAIRABLE = (
    *("empty-prefix", "metadata-of-nobody", "orphaned-record"),
    *("limit-of-nobody", "figure-of-nobody", "limit-changed"),
)


class RescanRequest(Request, frozen=True, kw_only=True, tag="rescan"):
    """Count what the quota scopes of a volume really hold, and report deviations."""

    #: Only this quota scope; None is all scopes and the top of the volume.
    owner: str | None = None
    #: Repair what can be repaired; else deviations are only reported.
    repair: bool = False
    #: Repair these of `REPAIRABLE` alone; empty is all.
    kinds: tuple[str, ...] = ()

    def repairs(self, kind: str) -> bool:
        """Return whether a deviation of this kind is put right."""
        return self.repair and kind in (self.kinds or REPAIRABLE)

    def natural_key(self) -> str:
        """Return volume and scope: there is one rescan at a time of each."""
        return f"{self.volume}/{self.scope()}"

    def scope(self) -> str:
        """Return the requested scope; empty for all."""
        return str(QuotaScope.parse(self.owner)) if self.owner else ""

    def validate(self) -> None:
        """Check the id and the kinds."""
        self.scope()
        if any(kind not in REPAIRABLE for kind in self.kinds):
            raise invalid_field("kinds", f"each is one of {', '.join(REPAIRABLE)}")
        if self.kinds and not self.repair:
            raise invalid_field("kinds", "they are for `repair` alone")


class AdoptRequest(Request, frozen=True, kw_only=True, tag="adopt"):
    """Put everything a quota scope holds under a limit, also what other programs wrote."""

    owner: str
    limit_bytes: int

    def natural_key(self) -> str:
        """Return the scope: there is one adoption at a time per scope."""
        return f"{self.volume}/{self.scope()}/adopt"

    def scope(self) -> str:
        """Return the scope that is adopted."""
        return str(QuotaScope.parse(self.owner))

    def title(self) -> str:
        """Return volume and scope."""
        return f"{self.volume}/{self.scope()}"

    def validate(self) -> None:
        """Check the id and the limit."""
        self.scope()
        if not 0 < self.limit_bytes < 2**63:
            raise invalid_field("limit_bytes", "above zero, and less than 2^63")


class SnapshotRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="snapshot"):
    """Create, list or delete snapshots of a vfolder, or restore a vfolder from one."""

    action: Literal["create", "list", "delete", "restore"]
    name: str | None = None
    #: How long a new snapshot is kept (seconds); None keeps it until a request deletes it. With
    #: `over`: what was there; None is seven days.
    keep_seconds: float | None = None
    #: The vfolder that a restore creates; None is the vfolder itself, which must not exist then.
    target: str | None = None
    #: Whether a restore takes the place of the vfolder, which exists and goes to the trash, for
    #: `keep_seconds`.
    over: bool = False

    @property
    def lane(self) -> Lane:
        """Return `bulk` for a restore, which copies; else `fast`."""
        return Lane.BULK if self.action == "restore" else Lane.FAST

    @property
    def restored_vfolder(self) -> str:
        """Return the vfolder that a restore creates."""
        return self.target or self.vfolder

    def locks(self) -> list[Lock]:
        """Return the source shared and the created vfolder exclusive for a restore.

        Without a restore: the vfolder, shared for `create` and `list`, which only read it, and
        exclusive for `delete`, because a restore may read the snapshot.
        """
        own = lock_key(self.volume, self.vfolder)
        made = lock_key(self.volume, self.restored_vfolder)
        if self.action != "restore":
            return [(own, "exclusive" if self.action == "delete" else "shared")]
        return [(own, "exclusive")] if made == own else [(own, "shared"), (made, "exclusive")]

    def needs(self) -> list[str]:
        """Return the vfolder for a new snapshot; older snapshots may be kept longer than it."""
        needed = self.action == "create" or self.over
        return [lock_key(self.volume, self.vfolder)] if needed else []

    def makes(self) -> list[str]:
        """Return what a restore creates."""
        made = lock_key(self.volume, self.restored_vfolder)
        return [made] if self.action == "restore" and not self.over else []

    def natural_key(self) -> str:
        """Return action and snapshot: one job at a time for each. Any number of lists may run."""
        if self.action == "list":
            return ""
        target = self.restored_vfolder if self.action == "restore" else self.name
        return f"{lock_key(self.volume, self.vfolder)}/{self.action}/{target}"

    def scope(self) -> str:
        """Return the quota scope of the created vfolder: its limit counts."""
        return str(VFolderId.parse(self.restored_vfolder).scope or "")

    def validate(self) -> None:
        """Check the ids, and that the other fields fit the action."""
        super().validate()
        if (self.name is None) != (self.action == "list"):
            raise invalid_field("name", "names the snapshot, for every action but `list`")
        if self.over and (self.action != "restore" or self.target is not None):
            raise invalid_field("over", "is for `restore`, without a target")
        keeps = self.over or self.action == "create"
        if self.keep_seconds is not None and not (keeps and self.keep_seconds > 0):
            raise invalid_field("keep_seconds", "is for `create` and `over`, and above zero")
        if self.target is not None and self.action != "restore":
            raise invalid_field("target", "is for `restore`")
        if self.action == "restore" and VFolderId.parse(self.restored_vfolder).scope is None:
            raise invalid_field("target", "needs a quota scope")
