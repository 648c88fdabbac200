"""The requests that keep a volume in order: what is in the trash, what is really there."""

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
        raise invalid_field(name, "the id of the job that deleted it")


class RestoreRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="restore"):
    """Bring a deleted vfolder back: the newest of its deletions, or the one of a job."""

    trash: str | None = None

    def validate(self) -> None:
        """The ids parse."""
        super().validate()
        if self.trash is not None:
            _check_id("trash", self.trash)


class PurgeRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="purge"):
    """Remove the bytes of a deleted vfolder for good."""

    trash: str

    def natural_key(self) -> str:
        """One purge per deletion."""
        return f"{self.volume}/{self.trash}"

    def validate(self) -> None:
        """The ids parse."""
        super().validate()
        _check_id("trash", self.trash)


class RescanRequest(Request, frozen=True, kw_only=True, tag="rescan"):
    """Count what the quota scopes of a volume really hold, and tell what is odd."""

    #: Only this quota scope; None is all, and the top of the volume.
    owner: str | None = None
    #: Put right what can be; else it is only told.
    repair: bool = False

    def natural_key(self) -> str:
        """One rescan at a time of the same scopes."""
        return f"{self.volume}/{self.scope()}"

    def scope(self) -> str:
        """The one that is asked for."""
        return str(QuotaScope.parse(self.owner)) if self.owner else ""

    def validate(self) -> None:
        """The id parses."""
        self.scope()


class AdoptRequest(Request, frozen=True, kw_only=True, tag="adopt"):
    """Put all that a quota scope holds under a limit, whoever made it and however much it is."""

    owner: str
    limit_bytes: int

    def natural_key(self) -> str:
        """One at a time per scope."""
        return f"{self.volume}/{self.scope()}/adopt"

    def scope(self) -> str:
        """The one that is adopted."""
        return str(QuotaScope.parse(self.owner))

    def title(self) -> str:
        """The scope on its volume."""
        return f"{self.volume}/{self.scope()}"

    def validate(self) -> None:
        """The id parses, and the limit is one."""
        self.scope()
        if not 0 < self.limit_bytes < 2**63:
            raise invalid_field("limit_bytes", "above zero, and less than 2^63")


class SnapshotRequest(SingleVFolderRequest, frozen=True, kw_only=True, tag="snapshot"):
    """Keep a vfolder as it is now, tell what is kept, let go of one, or make a vfolder of one."""

    action: Literal["create", "list", "delete", "restore"]
    name: str | None = None
    #: How long a new one is kept (seconds); None is until somebody deletes it.
    keep_seconds: float | None = None
    #: The vfolder that a restore makes; None is the vfolder itself, which must be gone.
    target: str | None = None

    @property
    def lane(self) -> Lane:
        """Only a restore copies."""
        return Lane.BULK if self.action == "restore" else Lane.FAST

    @property
    def restored_vfolder(self) -> str:
        """The vfolder that a restore makes."""
        return self.target or self.vfolder

    def locks(self) -> list[Lock]:
        """What is kept can be read and written meanwhile; what is made cannot."""
        own = lock_key(self.volume, self.vfolder)
        made = lock_key(self.volume, self.restored_vfolder)
        if self.action != "restore":
            return [(own, "shared" if self.action == "list" else "exclusive")]
        return [(own, "exclusive")] if made == own else [(own, "shared"), (made, "exclusive")]

    def natural_key(self) -> str:
        """One act at a time per snapshot; lists are asked for freely."""
        if self.action == "list":
            return ""
        target = self.restored_vfolder if self.action == "restore" else self.name
        return f"{lock_key(self.volume, self.vfolder)}/{self.action}/{target}"

    def scope(self) -> str:
        """The owner of what is made pays."""
        return str(VFolderId.parse(self.restored_vfolder).scope or "")

    def validate(self) -> None:
        """The ids parse, and what is said fits the act."""
        super().validate()
        if (self.name is None) != (self.action == "list"):
            raise invalid_field("name", "names the snapshot, for every act but `list`")
        if self.keep_seconds is not None and (self.action != "create" or self.keep_seconds <= 0):
            raise invalid_field("keep_seconds", "is for `create`, and above zero")
        if self.target is not None and self.action != "restore":
            raise invalid_field("target", "is for `restore`")
        if self.action == "restore" and VFolderId.parse(self.restored_vfolder).scope is None:
            raise invalid_field("target", "needs a quota scope")
