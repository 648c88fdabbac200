"""Entries of a vfolder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from api.schemas.fields import (
    Flag,
    NameField,
    OpenApi,
    PathField,
    VFolderField,
    VolumeName,
    WholeNumber,
)
from core.names import VFolderId, VFolderPath

#: Directories that one request may make.
DIRECTORIES_MAX = 50
#: Entries of one page of a listing, at most.
PAGE_MAX = 100_000


@dataclass(frozen=True, slots=True)
class OneEntry:
    """Names an entry of a vfolder."""

    volume: str
    vfolder: VFolderId
    path: VFolderPath


@dataclass(frozen=True, slots=True)
class ListDirectory:
    """Asks for the entries of a directory."""

    volume: str
    vfolder: VFolderId
    path: VFolderPath
    limit: int | None
    cursor: str | None


@dataclass(frozen=True, slots=True)
class MakeDirectories:
    """Asks for directories; each path is parsed on its own."""

    volume: str
    vfolder: VFolderId
    paths: Sequence[str]
    parents: bool
    exist_ok: bool


@dataclass(frozen=True, slots=True)
class RenameEntry:
    """Asks for another name."""

    volume: str
    vfolder: VFolderId
    path: VFolderPath
    new_name: str
    is_dir: bool


@dataclass(frozen=True, slots=True)
class MoveEntry:
    """Asks for another place."""

    volume: str
    vfolder: VFolderId
    source: VFolderPath
    target: VFolderPath


@dataclass(frozen=True, slots=True)
class RemoveEntries:
    """Asks to remove entries."""

    volume: str
    vfolder: VFolderId
    paths: Sequence[VFolderPath]
    recursive: bool


class EntryBody(Body):
    """Names an entry of a vfolder."""

    makes = OneEntry
    volume = VolumeName()
    vfolder = VFolderField()
    path = PathField()


class ListBody(Body):
    """Asks for the entries of a directory."""

    makes = ListDirectory
    volume = VolumeName()
    vfolder = VFolderField()
    path = PathField()
    limit = WholeNumber(
        minimum=1,
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=PAGE_MAX),
        metadata={"description": "At most so many entries; the configured limit if absent."},
    )
    cursor = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "The `next` of the page before."},
    )


class _OneOrMany(fields.Field[list[str]]):
    """A path, or a list of paths; each must be relative."""

    openapi: ClassVar[OpenApi] = {
        "type": ["string", "array"],
        "items": {"type": "string"},
        "maxItems": DIRECTORIES_MAX,
    }

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:  # noqa: ANN401 - marshmallow's hook
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            raise ma.ValidationError("Not a path or a list of paths.")
        if len(values) > DIRECTORIES_MAX:
            raise ma.ValidationError(f"More than {DIRECTORIES_MAX} paths.")
        if any(item.startswith("/") for item in values):
            raise ma.ValidationError("A path is relative to the vfolder; one is absolute.")
        return values


class MakeDirectoriesBody(Body):
    """Asks for directories."""

    makes = MakeDirectories
    volume = VolumeName()
    vfolder = VFolderField()
    paths = _OneOrMany(required=True, data_key="relpath")
    parents = Flag(load_default=True)
    exist_ok = Flag(load_default=False)


class RenameBody(Body):
    """Asks for another name."""

    makes = RenameEntry
    volume = VolumeName()
    vfolder = VFolderField()
    path = PathField()
    new_name = NameField()
    is_dir = Flag(
        load_default=False,
        metadata={"description": "Accepted from existing clients; has no effect."},
    )


class MoveBody(Body):
    """Asks for another place."""

    makes = MoveEntry
    volume = VolumeName()
    vfolder = VFolderField()
    source = PathField("src_relpath")
    target = PathField("dst_relpath")


class RemoveEntriesBody(Body):
    """Asks to remove entries."""

    makes = RemoveEntries
    volume = VolumeName()
    vfolder = VFolderField()
    paths = fields.List(PathField(None), required=True, data_key="relpaths")
    recursive = Flag(load_default=False)


class MadeItem(ma.Schema):
    """What became of one path."""

    item = fields.String(required=True)
    msg = fields.String(required=True, allow_none=True, metadata={"description": "Why not."})


class MadeResults(ma.Schema):
    """What became of all paths."""

    success = fields.List(fields.Nested(MadeItem), required=True)
    failed = fields.List(fields.Nested(MadeItem), required=True)


class MadeDirectories(ma.Schema):
    """What became of all paths."""

    results = fields.Nested(MadeResults, required=True)


class Stat(ma.Schema):
    """Attributes of an entry."""

    mode = fields.Integer(required=True)
    size = fields.Integer(required=True)
    created = fields.DateTime(required=True, metadata={"description": "st_ctime"})
    modified = fields.DateTime(required=True, metadata={"description": "st_mtime"})


class EntryDocument(ma.Schema):
    """One entry of a directory."""

    name = fields.String(required=True)
    type = fields.String(required=True, validate=validate.OneOf(["FILE", "DIRECTORY", "SYMLINK"]))
    stat = fields.Nested(Stat, required=True)
    symlink_target = fields.String(
        required=True,
        metadata={"description": "Relative to the listed directory; empty outside of it."},
    )


class EntryList(ma.Schema):
    """Entries of a directory, in the order of their names."""

    items = fields.List(fields.Nested(EntryDocument), required=True)
    truncated = fields.Boolean(
        required=True,
        metadata={"description": "Whether the directory has entries after the last one here."},
    )
    next = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The `cursor` of the next page; null at the end."},
    )
