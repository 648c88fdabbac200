"""What every request of a job is: its lane, its locks, its natural key, its owner.

The verbs' own requests are in `core.requests` and `core.jobs.requests.upkeep`.
"""

from typing import ClassVar, Literal

from msgspec import Struct

from core.errors import InvalidParameters
from core.jobs.job import Lane
from core.names import VFolderId

LockMode = Literal["shared", "exclusive"]
Lock = tuple[str, LockMode]


def lock_key(volume: str, vfolder: str) -> str:
    """The name of a vfolder's lock: canonical, whatever form the id came in."""
    return f"{volume}/{VFolderId.parse(vfolder)}"


def scope_of(vfolder: str) -> str:
    """The quota scope of a vfolder as text; empty for a legacy one."""
    scope = VFolderId.parse(vfolder).scope
    return str(scope) if scope else ""


class Request(Struct, frozen=True, kw_only=True, tag_field="verb", forbid_unknown_fields=True):
    """Base of all requests."""

    volume: str

    @property
    def lane(self) -> Lane:
        """`fast` for what is bounded by its own request, `bulk` for all that goes over a tree."""
        return Lane.BULK

    @property
    def verb(self) -> str:
        """The verb's name."""
        return str(self.__struct_config__.tag)

    @property
    def home(self) -> str:
        """The volume whose nodes run it."""
        return self.volume

    @property
    def pace(self) -> int | None:
        """Bytes per second that the job starts with, or None."""
        return None

    def locks(self) -> list[Lock]:
        """The vfolders it needs, each shared or exclusive."""
        return []

    def title(self) -> str:
        """What it is about, short enough for a column: no secret, no path."""
        return " → ".join(key for key, _ in self.locks()) or self.volume

    def natural_key(self) -> str:
        """What it acts on: with the verb, the key by which a repeated request joins the first."""
        return ""

    def scope(self) -> str:
        """The quota scope it works for: fairness turns over these."""
        return ""

    def validate(self) -> None:
        """Parse every id and path.

        Raises:
            InvalidParameters: one of them has no allowed form.
        """


class SingleVFolderRequest(Request, frozen=True, kw_only=True):
    """Base of the requests that act on one vfolder."""

    vfolder: str
    mode: ClassVar[LockMode] = "exclusive"

    def locks(self) -> list[Lock]:
        """The vfolder."""
        return [(lock_key(self.volume, self.vfolder), self.mode)]

    def natural_key(self) -> str:
        """One job per verb and vfolder."""
        return lock_key(self.volume, self.vfolder)

    def scope(self) -> str:
        """The vfolder's owner."""
        return scope_of(self.vfolder)

    def validate(self) -> None:
        """The id parses."""
        VFolderId.parse(self.vfolder)


def invalid_field(name: str, detail: str) -> InvalidParameters:
    """A refusal that names one field."""
    return InvalidParameters(
        f"{name}: {detail}.", errors=[{"pointer": f"/{name}", "detail": detail}]
    )
