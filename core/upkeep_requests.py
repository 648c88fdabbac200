"""The requests that keep a volume in order: what is in the trash, what is really there."""

from uuid import UUID

from core.names import QuotaScope
from core.request import OneVFolder, Request, wrong


def _check_id(name: str, text: str) -> None:
    try:
        known = str(UUID(text)) == text
    except ValueError:
        known = False
    if not known:
        raise wrong(name, "the id of the job that deleted it")


class RestoreRequest(OneVFolder, frozen=True, kw_only=True, tag="restore"):
    """Bring a deleted vfolder back: the newest of its deletions, or the one of a job."""

    trash: str | None = None

    def check(self) -> None:
        """The ids parse."""
        super().check()
        if self.trash is not None:
            _check_id("trash", self.trash)


class PurgeRequest(OneVFolder, frozen=True, kw_only=True, tag="purge"):
    """Remove the bytes of a deleted vfolder for good."""

    trash: str

    def natural(self) -> str:
        """One purge per deletion."""
        return f"{self.volume}/{self.trash}"

    def check(self) -> None:
        """The ids parse."""
        super().check()
        _check_id("trash", self.trash)


class RescanRequest(Request, frozen=True, kw_only=True, tag="rescan"):
    """Count what the quota scopes of a volume really hold, and tell what is odd."""

    #: Only this quota scope; None is all, and the top of the volume.
    owner: str | None = None
    #: Put right what can be; else it is only told.
    repair: bool = False

    def natural(self) -> str:
        """One rescan at a time of the same scopes."""
        return f"{self.volume}/{self.scope()}"

    def scope(self) -> str:
        """The one that is asked for."""
        return str(QuotaScope.parse(self.owner)) if self.owner else ""

    def check(self) -> None:
        """The id parses."""
        self.scope()
