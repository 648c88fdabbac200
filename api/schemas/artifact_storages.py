"""Artifact storages: files and directories of VFS storages, and objects of buckets."""

from dataclasses import dataclass

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import ArtifactBody


@dataclass(frozen=True, slots=True)
class StoragePath:
    """A path in a VFS storage, as the caller wrote it."""

    filepath: str


class StoragePathBody(ArtifactBody):
    """A file or a directory of a VFS storage."""

    makes = StoragePath
    filepath = fields.String(
        required=True,
        metadata={
            "description": "Path in the storage; a `/` at its beginning is ignored, `..` is "
            "refused. `/` and `.` are the directory of the storage.",
            "example": "org/model/main/config.json",
        },
    )


@dataclass(frozen=True, slots=True)
class StorageDirectory:
    """A directory of a VFS storage, as the caller wrote it."""

    directory: str


class StorageDirectoryBody(ArtifactBody):
    """A directory of a VFS storage."""

    makes = StorageDirectory
    directory = fields.String(
        required=True, metadata={"description": "Path in the storage.", "example": "org/model/main"}
    )


class StorageUploadForm(ma.Schema):
    """A file for a VFS storage; its fields may come in any order."""

    filepath = fields.String(required=True, metadata={"description": "Path in the storage."})
    content_type = fields.String(
        metadata={"description": "Not stored: the end of the name says what a file is."}
    )
    file = fields.Raw(
        required=True, metadata={"type": "string", "format": "binary", "description": "Its bytes."}
    )


class StoredPath(ma.Schema):
    """The path that was changed, as the caller wrote it."""

    filepath = fields.String(required=True)


class OwnerAndMode(ma.Schema):
    """Attributes of a file, as text."""

    mode = fields.String(required=True, metadata={"example": "0o100644"})
    uid = fields.String(required=True)
    gid = fields.String(required=True)


class StoredMeta(ma.Schema):
    """The facts of a file or a directory; times are seconds of the epoch."""

    filepath = fields.String(required=True)
    content_length = fields.Integer(required=True)
    content_type = fields.String(required=True)
    last_modified = fields.Float(required=True)
    created = fields.Float(required=True)
    is_directory = fields.Boolean(required=True)
    metadata = fields.Nested(OwnerAndMode, required=True)


class StoredEntry(ma.Schema):
    """One file or directory of a listing; times are seconds of the epoch."""

    name = fields.String(required=True)
    type = fields.String(required=True, metadata={"enum": ["file", "directory"]})
    size = fields.Integer(required=True, allow_none=True)
    modified = fields.Float(required=True)
    created = fields.Float(required=True)
    path = fields.String(required=True)


class StoredEntries(ma.Schema):
    """Everything below a directory, a directory before its content."""

    files = fields.List(fields.Nested(StoredEntry), required=True)


# -- Objects ---------------------------------------------------------------------------------------
def _key() -> fields.String:
    return fields.String(
        required=True,
        validate=validate.Length(min=1),
        metadata={"description": "Key of an object.", "example": "org/model/main/config.json"},
    )


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """A key of a bucket."""

    key: str


class ObjectKeyBody(ArtifactBody):
    """A key of a bucket."""

    makes = ObjectKey
    key = _key()


@dataclass(frozen=True, slots=True)
class PresignedDownload:
    """A key that is to be downloaded."""

    key: str
    expiration: int | None


class PresignedDownloadBody(ArtifactBody):
    """A key that is to be downloaded."""

    makes = PresignedDownload
    key = _key()
    expiration = fields.Integer(
        strict=True,
        load_default=None,
        allow_none=True,
        metadata={"description": "Not used: the configuration says how long a URL is valid."},
    )


class ObjectUploadForm(ma.Schema):
    """A file for a bucket; its fields may come in any order."""

    key = _key()
    content_type = fields.String(metadata={"description": "The media type of the object."})
    file = fields.Raw(
        required=True, metadata={"type": "string", "format": "binary", "description": "Its bytes."}
    )


class ObjectMeta(ma.Schema):
    """The facts of an object."""

    content_length = fields.Integer(required=True, allow_none=True)
    content_type = fields.String(required=True, allow_none=True)
    last_modified = fields.String(required=True, allow_none=True)
    etag = fields.String(
        required=True, allow_none=True, metadata={"description": "With its quotes."}
    )
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


class PresignedForm(ma.Schema):
    """Where a form is sent, and its fields; the file comes last, as `file`."""

    url = fields.String(required=True)
    fields_ = fields.Dict(
        keys=fields.String(), values=fields.String(), required=True, data_key="fields"
    )


class PresignedUrl(ma.Schema):
    """A URL that needs no credentials."""

    url = fields.String(required=True)
