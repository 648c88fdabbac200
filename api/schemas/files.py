"""Entries of a vfolder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from api.schemas.fields import (
    Flag,
    LooseInteger,
    NameField,
    OpenApi,
    PathField,
    VFolderField,
    VolumeName,
)
from core.names import VFolderId, VFolderPath

#: The most directories that one request may make.
DIRECTORIES_MAX = 50
#: The most entries in one page of a listing.
PAGE_MAX = 100_000


@dataclass(frozen=True, slots=True)
class OneEntry:
    """An entry of a vfolder."""

    volume: str
    vfolder: VFolderId
    path: VFolderPath


@dataclass(frozen=True, slots=True)
class ListDirectory:
    """A request to list a directory."""

    volume: str
    vfolder: VFolderId
    path: VFolderPath
    limit: int | None
    cursor: str | None


@dataclass(frozen=True, slots=True)
class MakeDirectories:
    """A request to make directories; each path is parsed separately."""

    volume: str
    vfolder: VFolderId
    paths: Sequence[str]
    parents: bool
    exist_ok: bool


@dataclass(frozen=True, slots=True)
class RenameEntry:
    """A request to rename an entry."""

    volume: str
    vfolder: VFolderId
    path: VFolderPath
    new_name: str
    is_dir: bool


@dataclass(frozen=True, slots=True)
class MoveEntry:
    """A request to move an entry."""

    volume: str
    vfolder: VFolderId
    source: VFolderPath
    target: VFolderPath


@dataclass(frozen=True, slots=True)
class RemoveEntries:
    """A request to remove entries."""

    volume: str
    vfolder: VFolderId
    paths: Sequence[VFolderPath]
    recursive: bool


class EntryBody(Body):
    """An entry of a vfolder."""

    makes = OneEntry
    volume = VolumeName()
    vfolder = VFolderField()
    path = PathField()


class ListBody(Body):
    """A request to list a directory."""

    makes = ListDirectory
    volume = VolumeName()
    vfolder = VFolderField()
    path = PathField()
    limit = LooseInteger(
        minimum=1,
        load_default=None,
        allow_none=True,
        validate=validate.Range(min=1, max=PAGE_MAX),
        metadata={"description": "The most entries to return; the configured limit when absent."},
    )
    cursor = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "The `next` of the previous page."},
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
            raise ma.ValidationError(f"More than {DIRECTORIES_MAX} paths; split the request.")
        if any(item.startswith("/") for item in values):
            raise ma.ValidationError("A path is absolute; paths are relative to the vfolder.")
        return values


class MakeDirectoriesBody(Body):
    """A request to make directories."""

    makes = MakeDirectories
    volume = VolumeName()
    vfolder = VFolderField()
    paths = _OneOrMany(required=True, data_key="relpath")
    parents = Flag(load_default=True)
    exist_ok = Flag(load_default=False)


class RenameBody(Body):
    """A request to rename an entry."""

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
    """A request to move an entry."""

    makes = MoveEntry
    volume = VolumeName()
    vfolder = VFolderField()
    source = PathField("src_relpath")
    target = PathField("dst_relpath")


class RemoveEntriesBody(Body):
    """A request to remove entries."""

    makes = RemoveEntries
    volume = VolumeName()
    vfolder = VFolderField()
    paths = fields.List(PathField(None), required=True, data_key="relpaths")
    recursive = Flag(load_default=False)


class MadeItem(ma.Schema):
    """The result for one path."""

    item = fields.String(required=True)
    msg = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The reason of the failure; null on success."},
    )


class MadeResults(ma.Schema):
    """The results for all paths."""

    success = fields.List(fields.Nested(MadeItem), required=True)
    failed = fields.List(fields.Nested(MadeItem), required=True)


class MadeDirectories(ma.Schema):
    """The results for all paths."""

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
        metadata={
            "description": "Relative to the listed directory; empty when it points outside of it."
        },
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
