"""The bodies that people's routes take and the documents that they give."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body, InvalidDocument
from api.schemas.fields import (
    INTEGER_MAX,
    MomentField,
    Note,
    PathField,
    SubjectWord,
    Text,
    Truth,
)
from core.jobs.requests import KEEP_MAX_SECONDS
from core.names import VFolderPath

#: The most directories, or entries, that one request may name.
DIRECTORIES_MAX = 1000
PATHS_MAX = 10_000
GROUP_PERMISSIONS = ["none", "ro", "rw", "rwd"]
GRANTED = ["ro", "rw", "rwd"]
#: What a change does not name.
UNCHANGED: Any = object()


class PersonBody(Body):
    """A body of a person's route: unknown keys are refused."""

    refusal = InvalidDocument


class LimitBytes(fields.Integer):
    """A limit in bytes; null is none."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - options of the field
        text = "What it may hold, beside the limit of its scope; null is no limit."
        options.setdefault("metadata", {"description": text})
        bounds = validate.Range(min=1, max=INTEGER_MAX)
        super().__init__(strict=True, allow_none=True, validate=bounds, **options)


# -- VFolders --------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class NewVFolder:
    """A request to make a vfolder."""

    name: str
    volume: str | None
    owner: str | None
    group_permission: str
    expires_at: float | None
    limit_bytes: int | None


class NewVFolderBody(PersonBody):
    """A request to make a vfolder."""

    makes = NewVFolder
    name = Text(metadata={"description": "1 to 200 characters, without `/`."})
    volume = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "The name of a volume; needed where the caller may use several."},
    )
    owner = SubjectWord(
        load_default=None,
        allow_none=True,
        metadata={"description": "`user:<uuid>` or `group:<uuid>`; the caller when absent."},
    )
    group_permission = fields.String(
        load_default="ro",
        validate=validate.OneOf(GROUP_PERMISSIONS),
        metadata={"description": "What members of the owning group may do."},
    )
    expires_at = MomentField(load_default=None, allow_none=True)
    limit_bytes = LimitBytes(load_default=None)


@dataclass(frozen=True, slots=True)
class VFolderChange:
    """A change of a vfolder's record; what it does not name stays."""

    name: Any = UNCHANGED
    group_permission: Any = UNCHANGED
    expires_at: Any = UNCHANGED
    links_allowed: Any = UNCHANGED
    limit_bytes: Any = UNCHANGED

    @property
    def given(self) -> dict[str, Any]:
        """Return what is to be changed, by name."""
        names = ("name", "group_permission", "expires_at", "links_allowed", "limit_bytes")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not UNCHANGED}


class VFolderChangeBody(PersonBody):
    """A change of a vfolder's record; what it does not name stays."""

    makes = VFolderChange
    name = Text(required=False)
    group_permission = fields.String(validate=validate.OneOf(GROUP_PERMISSIONS))
    expires_at = MomentField(allow_none=True)
    links_allowed = Truth(metadata={"description": "False ends all links until it is true again."})
    limit_bytes = LimitBytes()


@dataclass(frozen=True, slots=True)
class RestoreOrder:
    """A request to restore a vfolder."""

    trash: str | None


class RestoreVFolderBody(PersonBody):
    """A request to restore a vfolder."""

    makes = RestoreOrder
    trash = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "The id of a deletion; the newest one when absent."},
    )


class OwnerDocument(ma.Schema):
    """The owner of a vfolder."""

    kind = fields.String(validate=validate.OneOf(["user", "group"]))
    id = fields.String()
    name = fields.String()


class UsageDocument(ma.Schema):
    """The last figures of a vfolder; null is unknown."""

    used_bytes = fields.Integer(allow_none=True)
    entries = fields.Integer(allow_none=True)
    as_of = fields.String(allow_none=True)
    limit_bytes = fields.Integer(allow_none=True)
    enforced = fields.String(allow_none=True, validate=validate.OneOf(["hard", "soft"]))


class VFolderDocument(ma.Schema):
    """A vfolder as the caller may see it."""

    id = fields.String()
    volume = fields.String()
    name = fields.String(allow_none=True)
    type = fields.String(validate=validate.OneOf(["user", "group"]))
    scope = fields.String()
    owner = fields.Nested(OwnerDocument)
    created_at = fields.String(allow_none=True)
    created_by = fields.String(allow_none=True)
    permission = fields.String(validate=validate.OneOf([*GRANTED, "owner"]))
    permission_via = fields.String()
    permission_expires_at = fields.String(allow_none=True)
    group_permission = fields.String(validate=validate.OneOf(GROUP_PERMISSIONS))
    shared_with = fields.Integer()
    links = fields.Integer()
    links_allowed = fields.Boolean()
    expires_at = fields.String(allow_none=True)
    trashed = fields.Boolean()
    usage = fields.Nested(UsageDocument)
    revision = fields.Integer()
    capabilities = fields.List(fields.String())
    next_owner = fields.String(
        allow_none=True,
        metadata={"description": "Which user or group it was offered; null for all but the owner."},
    )
    links_to = fields.Dict(keys=fields.String(), values=fields.String())


class VFolderPage(ma.Schema):
    """VFolders in the order of their names, then of their ids."""

    vfolders = fields.List(fields.Nested(VFolderDocument))
    complete = fields.Boolean(
        metadata={
            "description": "False while the index of a volume is built, or one is away: some lack."
        }
    )
    next = fields.String(allow_none=True)


# -- Entries ---------------------------------------------------------------------------------------
class EntryRow(ma.Schema):
    """One entry of a vfolder; null is unknown."""

    name = fields.String()
    kind = fields.String(validate=validate.OneOf(["file", "directory", "symlink"]))
    size_bytes = fields.Integer(allow_none=True)
    mode = fields.Integer(allow_none=True)
    changed_at = fields.String(allow_none=True)
    modified_at = fields.String(allow_none=True)
    symlink_target = fields.String(allow_none=True)


class EntryRows(ma.Schema):
    """Some entries of a directory, in the order of their names."""

    entries = fields.List(fields.Nested(EntryRow))
    next = fields.String(allow_none=True)


class EntryListing(EntryRows):
    """Some entries of a directory; with `rows=columns` as arrays, each with the named columns."""

    columns = fields.List(fields.String())
    rows = fields.List(fields.List(fields.Raw(allow_none=True)))


class FoundRow(ma.Schema):
    """An entry that was found."""

    path = fields.String()
    kind = fields.String(validate=validate.OneOf(["file", "directory", "symlink"]))
    size_bytes = fields.Integer(allow_none=True)
    modified_at = fields.String()


class FoundEntries(ma.Schema):
    """All entries that were found, in the order of their paths."""

    entries = fields.List(fields.Nested(FoundRow))


class UploadRow(ma.Schema):
    """An upload in flight; null is unknown."""

    id = fields.String()
    vfolder = fields.String(metadata={"description": "`VOLUME:ID` of its vfolder."})
    path = fields.String(allow_none=True, metadata={"description": "Null for a part."})
    offset = fields.Integer()
    length = fields.Integer(allow_none=True)
    is_written = fields.Boolean(metadata={"description": "A request writes it now."})
    url = fields.String()
    subject = fields.String(
        allow_none=True, metadata={"description": "For operators: whose it is; null by a ticket."}
    )
    node = fields.String(
        allow_none=True, metadata={"description": "For operators: the node that opened it."}
    )
    idle_seconds = fields.Float(
        metadata={"description": "For operators: the time since its last bytes."}
    )


class UploadList(ma.Schema):
    """The uploads of the caller in flight, the oldest first; for operators one page of all."""

    uploads = fields.List(fields.Nested(UploadRow))
    next = fields.String(
        allow_none=True, metadata={"description": "For operators: the cursor of the next page."}
    )


@dataclass(frozen=True, slots=True)
class Relocation:
    """A request to rename or move an entry."""

    target: VFolderPath
    overwrite: bool


class RelocationBody(PersonBody):
    """A request to rename or move an entry."""

    makes = Relocation
    target = PathField("to")
    overwrite = Truth(load_default=False)


@dataclass(frozen=True, slots=True)
class NewDirectories:
    """A request to make directories; each path is parsed by itself."""

    paths: Sequence[str]
    parents: bool


class NewDirectoriesBody(PersonBody):
    """A request to make directories."""

    makes = NewDirectories
    paths = fields.List(
        fields.String(), required=True, validate=validate.Length(min=1, max=DIRECTORIES_MAX)
    )
    parents = Truth(load_default=True)


class DirectoryResult(ma.Schema):
    """What became of one path."""

    path = fields.String()
    status = fields.Integer(metadata={"description": "201, or the status of its problem."})
    problem = fields.Dict(allow_none=True)


class DirectoryResults(ma.Schema):
    """What became of each path."""

    results = fields.List(fields.Nested(DirectoryResult))


@dataclass(frozen=True, slots=True)
class RemovalOrder:
    """A request to remove entries."""

    paths: Sequence[VFolderPath]
    recursive: bool
    keep_seconds: float | None


class RemovalOrderBody(PersonBody):
    """A request to remove entries."""

    makes = RemovalOrder
    paths = fields.List(
        PathField(None), required=True, validate=validate.Length(min=1, max=PATHS_MAX)
    )
    recursive = Truth(load_default=True)
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, KEEP_MAX_SECONDS),
        metadata={
            "description": "How long they can be restored; 0 is not at all, and needs an owner. "
            "When absent, 604800 where the volume keeps removed entries."
        },
    )


class RemovedEntriesRow(ma.Schema):
    """What one job removed and what is still in the trash; `paths` has the first 100."""

    id = fields.String(metadata={"description": "The job that removed them."})
    deleted_at = fields.String()
    expires_at = fields.String()
    size_bytes = fields.Integer(allow_none=True)
    count = fields.Integer()
    paths = fields.List(fields.String())


class RemovedEntriesList(ma.Schema):
    """Removed entries of a vfolder, the newest removal first."""

    trash = fields.List(fields.Nested(RemovedEntriesRow))


@dataclass(frozen=True, slots=True)
class TicketOrder:
    """A request for a ticket."""

    act: str
    path: VFolderPath
    paths: Sequence[VFolderPath]
    size: int | None
    tree: bool


class TicketBody(PersonBody):
    """A request for a ticket."""

    makes = TicketOrder
    act = fields.String(required=True, validate=validate.OneOf(["download", "upload", "archive"]))
    path = PathField("path", load_default=lambda: VFolderPath(()))
    paths = fields.List(PathField(None), load_default=list, validate=validate.Length(max=PATHS_MAX))
    size = fields.Integer(
        strict=True,
        allow_none=True,
        load_default=None,
        validate=validate.Range(min=0, max=INTEGER_MAX),
        metadata={
            "description": "Of an upload: its bytes; with `tree`, those of the largest file."
        },
    )
    tree = Truth(load_default=False)


class TicketDocument(ma.Schema):
    """A ticket, and where to use it."""

    token = fields.String()
    url = fields.String()
    expires_at = fields.String()


# -- Oneself ---------------------------------------------------------------------------------------
class SubjectDocument(ma.Schema):
    """Who asks."""

    kind = fields.String()
    id = fields.String(allow_none=True)
    name = fields.String()


class GroupDocument(ma.Schema):
    """A group of the caller."""

    id = fields.String()
    admin = fields.Boolean()


class CredentialDocument(ma.Schema):
    """The credential of the request, without its secret."""

    kind = fields.String()
    id = fields.String()
    scopes = fields.List(fields.String())
    volumes = fields.List(fields.String(), allow_none=True)
    vfolders = fields.List(fields.String(), allow_none=True)
    expires_at = fields.String(allow_none=True)


class Me(ma.Schema):
    """The caller, its credential, and what this server can do."""

    subject = fields.Nested(SubjectDocument)
    groups = fields.List(fields.Nested(GroupDocument))
    credential = fields.Nested(CredentialDocument)
    limits = fields.Dict(keys=fields.String(), values=fields.Integer(allow_none=True))
    features = fields.List(fields.String())
    volumes = fields.List(fields.String())
    version = fields.String()


class FoundSubjectRow(ma.Schema):
    """A user or a group; the name is null where it is not known here."""

    kind = fields.String(validate=validate.OneOf(["user", "group"]))
    id = fields.String()
    name = fields.String(allow_none=True)


class FoundSubjects(ma.Schema):
    """Users and groups to share with: those near the caller first, by name."""

    subjects = fields.List(fields.Nested(FoundSubjectRow))


# -- Grants ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class NewGrant:
    """A request to share a vfolder."""

    to: str
    permission: str
    expires_at: float | None = None
    note: str = ""


class NewGrantBody(PersonBody):
    """A request to share a vfolder."""

    makes = NewGrant
    to = SubjectWord(required=True)
    permission = fields.String(required=True, validate=validate.OneOf(GRANTED))
    expires_at = MomentField(load_default=None, allow_none=True)
    note = Note(load_default="")


@dataclass(frozen=True, slots=True)
class GrantChange:
    """A change of a grant; what it does not name stays."""

    permission: Any = UNCHANGED
    expires_at: Any = UNCHANGED
    note: Any = UNCHANGED
    given: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        values = {n: getattr(self, n) for n in ("permission", "expires_at", "note")}
        given = {name: value for name, value in values.items() if value is not UNCHANGED}
        object.__setattr__(self, "given", given)


class GrantChangeBody(PersonBody):
    """A change of a grant."""

    makes = GrantChange
    permission = fields.String(validate=validate.OneOf(GRANTED))
    expires_at = MomentField(allow_none=True)
    note = Note()


class GrantRow(ma.Schema):
    """A grant."""

    id = fields.String()
    to = fields.String()
    permission = fields.String(validate=validate.OneOf(GRANTED))
    source = fields.String(validate=validate.OneOf(["local", "manager", "break_glass"]))
    expires_at = fields.String(allow_none=True)
    note = fields.String()
    created_at = fields.String(allow_none=True)
    created_by = fields.String()


class GrantList(ma.Schema):
    """The grants that the caller may see."""

    owner = fields.Nested(OwnerDocument)
    grants = fields.List(fields.Nested(GrantRow))
