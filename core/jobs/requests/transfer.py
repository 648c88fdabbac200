"""The requests of a transfer: what is copied where, and what happens to existing entries."""

from typing import Literal

from msgspec import field

from core.jobs.requests.base import (
    KEEP_MAX_SECONDS,
    Lock,
    LockMode,
    Request,
    invalid_field,
    lock_key,
    scope_of,
)
from core.names import VFolderId, VFolderPath, moment_ns

#: Most filter rules of one request, and the longest rule (characters).
RULES_MAX = 1000
RULE_LENGTH_MAX = 5000


class TransferRequest(Request, frozen=True, kw_only=True, tag="transfer"):
    """Copy a vfolder, or a path in it, into another vfolder, on any volume."""

    source: str
    target: str
    source_path: str = ""
    target_volume: str | None = None
    target_path: str = ""
    filters: list[str] = field(default_factory=list)
    min_bytes: int | None = None
    max_bytes: int | None = None
    newer_than: str | None = None
    older_than: str | None = None
    on_conflict: Literal["fail", "skip", "replace", "newer"] = "fail"
    on_error: Literal["stop", "skip"] = "stop"
    verify: Literal["none", "size", "checksum"] = "size"
    delete_extra: bool = False
    bytes_per_second: int | None = None
    #: Whether a change of the source during the copy is a failure.
    strict: bool = False
    #: Whether what arrived is removed from the source: a move.
    remove_source: bool = False
    #: How long what is removed can be restored (seconds); 0 and None are not at all.
    keep_seconds: float | None = None

    @property
    def home(self) -> str:
        """Return the target volume: its nodes run the job."""
        return self.target_volume or self.volume

    @property
    def pace(self) -> int | None:
        """Return the limit that the caller sets (bytes per second)."""
        return self.bytes_per_second

    @property
    def is_complete(self) -> bool:
        """Return whether it copies the complete vfolder, without selection and bandwidth limit."""
        at_root = VFolderPath.parse(self.source_path).is_root
        return at_root and self.pace is None and not self.selects

    @property
    def selects(self) -> bool:
        """Return whether rules or bounds choose among the entries of the source."""
        chosen = (self.filters, self.min_bytes, self.max_bytes, self.newer_than, self.older_than)
        return any(chosen)

    def locks(self) -> list[Lock]:
        """Return source shared and target exclusive; within one vfolder only the exclusive one.

        A move writes into both.
        """
        source, target = lock_key(self.volume, self.source), lock_key(self.home, self.target)
        alone: list[Lock] = [(target, "exclusive")]
        mode: LockMode = "exclusive" if self.remove_source else "shared"
        return alone if source == target else [(source, mode), *alone]

    def needs(self) -> list[str]:
        """Return the source."""
        return [lock_key(self.volume, self.source)]

    def makes(self) -> list[str]:
        """Return the target."""
        return [lock_key(self.home, self.target)]

    def title(self) -> str:
        """Return source and target, without paths."""
        return f"{lock_key(self.volume, self.source)} → {lock_key(self.home, self.target)}"

    def natural_key(self) -> str:
        """Return the target path. Transfers to other paths of the vfolder wait for each other."""
        return f"{lock_key(self.home, self.target)}/{VFolderPath.parse(self.target_path)}"

    def scope(self) -> str:
        """Return the quota scope of the target: its limit counts."""
        return scope_of(self.target)

    def validate(self) -> None:
        """Check ids, paths, times and limits, and that source and target do not overlap.

        Filter rules are parsed later, by the tree engine.
        """
        if VFolderId.parse(self.target).scope is None:
            raise invalid_field("target", "needs a quota scope")
        VFolderId.parse(self.source)
        self._check_paths()
        if len(self.filters) > RULES_MAX or any(len(r) > RULE_LENGTH_MAX for r in self.filters):
            bounds = f"at most {RULES_MAX} rules of {RULE_LENGTH_MAX} characters"
            raise invalid_field("filters", bounds)
        for name in ("min_bytes", "max_bytes"):
            if (getattr(self, name) or 0) < 0:
                raise invalid_field(name, "is below zero")
        for name in ("newer_than", "older_than"):
            if (text := getattr(self, name)) is not None:
                check_moment(name, text)
        if self.bytes_per_second is not None and self.bytes_per_second < 1:
            raise invalid_field("bytes_per_second", "is above zero, or null")
        self._check_move()

    def _check_move(self) -> None:
        """Check that nothing is removed which was not verified, and what is kept of it."""
        keep = self.keep_seconds
        if keep is not None and not (self.remove_source and 0 <= keep <= KEEP_MAX_SECONDS):
            bounds = f"is for `remove_source`, and between 0 and {KEEP_MAX_SECONDS}"
            raise invalid_field("keep_seconds", bounds)
        if not self.remove_source:
            return
        if lock_key(self.volume, self.source) == lock_key(self.home, self.target):
            raise invalid_field("target", "is the source itself, in which entries are renamed")
        if self.verify == "none":
            raise invalid_field("verify", "is `size` or `checksum` where the source is removed")
        if self.delete_extra:
            raise invalid_field("delete_extra", "is not for a move")

    def _check_paths(self) -> None:
        source, target = VFolderPath.parse(self.source_path), VFolderPath.parse(self.target_path)
        if lock_key(self.volume, self.source) != lock_key(self.home, self.target):
            return
        shared = min(len(source.parts), len(target.parts))
        if source.parts[:shared] == target.parts[:shared]:
            raise invalid_field("target_path", "overlaps the source")


def check_moment(name: str, text: str) -> None:
    """Refuse what is no moment with an offset.

    Raises:
        InvalidParameters: it is none; the error names the field.
    """
    try:
        moment_ns(text)
    except ValueError as error:
        raise invalid_field(name, "is a moment as in RFC 3339, with an offset") from error


class AssistRequest(Request, frozen=True, kw_only=True, tag="assist"):
    """Help the transfer `job` with parts of its plan. Its run submits this, never a caller."""

    job: str
    number: int

    def title(self) -> str:
        """Return the job that it helps."""
        return f"helps {self.job}"

    def natural_key(self) -> str:
        """Return job and number: one helper per number, also when the job runs again."""
        return f"{self.job}/{self.number}"
