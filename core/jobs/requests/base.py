"""The base of all requests: lane, locks, natural key, quota scope."""

from typing import ClassVar, Literal

from msgspec import Struct

from core.errors import InvalidParameters
from core.jobs.job import Lane
from core.names import VFolderId

#: What is removed is kept at most this long: ten years (seconds).
KEEP_MAX_SECONDS = 10 * 365 * 86_400

LockMode = Literal["shared", "exclusive"]
Lock = tuple[str, LockMode]
#: For each mode the modes that a job of that mode does not run beside, on the same vfolder. The
#: scripts of the store take this table, too. It is symmetric.
CONFLICTS: dict[LockMode, tuple[LockMode, ...]] = {
    "shared": ("exclusive",),
    "exclusive": ("exclusive", "shared"),
}


def lock_key(volume: str, vfolder: str) -> str:
    """Return the name of a vfolder's lock, the same for every form of the id."""
    return f"{volume}/{VFolderId.parse(vfolder)}"


def scope_of(vfolder: str) -> str:
    """Return the quota scope of a vfolder as text; empty for a legacy one."""
    scope = VFolderId.parse(vfolder).scope
    return str(scope) if scope else ""


class Request(Struct, frozen=True, kw_only=True, tag_field="verb", forbid_unknown_fields=True):
    """Base of all requests."""

    volume: str

    @property
    def lane(self) -> Lane:
        """Return `fast` when the request itself bounds the work, `bulk` when it walks a tree."""
        return Lane.BULK

    @property
    def verb(self) -> str:
        """Return the name of the verb."""
        return str(self.__struct_config__.tag)

    @property
    def home(self) -> str:
        """Return the volume whose nodes run the job."""
        return self.volume

    @property
    def pace(self) -> int | None:
        """Return the bandwidth limit that the job starts with (bytes per second), or None."""
        return None

    def locks(self) -> list[Lock]:
        """Return the locks of the vfolders it needs, each shared or exclusive."""
        return []

    def needs(self) -> list[str]:
        """Return the vfolders, as lock keys, without which it can only fail."""
        return []

    def makes(self) -> list[str]:
        """Return the vfolders, as lock keys, that may exist after it and not before."""
        return []

    def title(self) -> str:
        """Return a title short enough for a column, without secrets and paths."""
        return " → ".join(key for key, _ in self.locks()) or self.volume

    def natural_key(self) -> str:
        """Return what it works on: a repeated request of equal verb and key joins the first."""
        return ""

    def scope(self) -> str:
        """Return the quota scope it works for. Jobs of different scopes take turns."""
        return ""

    def validate(self) -> None:
        """Check every id and path.

        Raises:
            InvalidParameters: one of them is not valid.
        """


class SingleVFolderRequest(Request, frozen=True, kw_only=True):
    """Base of the requests that work on one vfolder."""

    vfolder: str
    mode: ClassVar[LockMode] = "exclusive"

    def locks(self) -> list[Lock]:
        """Return the lock of the vfolder."""
        return [(lock_key(self.volume, self.vfolder), self.mode)]

    def natural_key(self) -> str:
        """Return the vfolder: there is one job at a time per verb and vfolder."""
        return lock_key(self.volume, self.vfolder)

    def scope(self) -> str:
        """Return the quota scope of the vfolder."""
        return scope_of(self.vfolder)

    def validate(self) -> None:
        """Check the id."""
        VFolderId.parse(self.vfolder)


def invalid_field(name: str, detail: str) -> InvalidParameters:
    """Return an error that names one field."""
    return InvalidParameters(
        f"{name}: {detail}.", errors=[{"pointer": f"/{name}", "detail": detail}]
    )
