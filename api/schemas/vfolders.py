"""VFolders: create, mount, metadata, usage."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from api.schemas.fields import LooseInteger, OpenApi, PathField, VFolderField, VolumeName
from backends.base import DEFAULT_MODE
from core.names import VFolderId, VFolderPath

#: Permission bits, with set-group-id and sticky: what chmod(2) takes.
MODE_MAX = 0o7777


@dataclass(frozen=True, slots=True)
class VFolderOfRequest:
    """A vfolder on a volume."""

    volume: str
    vfolder: VFolderId


@dataclass(frozen=True, slots=True)
class CreateVFolder:
    """A request to create an empty vfolder."""

    volume: str
    vfolder: VFolderId
    mode: int | None
    options: Mapping[str, Any] | None

    @property
    def initial_limit_bytes(self) -> int | None:
        """Return the limit of the quota scope, in case it is created for this vfolder."""
        limit = (self.options or {}).get("initial_max_size_for_quota_scope")
        return int(limit) if limit else None


@dataclass(frozen=True, slots=True)
class MountVFolder:
    """A request for the path of a vfolder."""

    volume: str
    vfolder: VFolderId
    subpath: VFolderPath


class VFolderBody(Body):
    """A vfolder on a volume."""

    makes = VFolderOfRequest
    volume = VolumeName()
    vfolder = VFolderField()


class CreateOptions(ma.Schema):
    """Options of a new quota scope; other keys are ignored."""

    class Meta:
        """Other options are for other backends."""

        unknown = ma.EXCLUDE

    initial_max_size_for_quota_scope = LooseInteger(allow_none=True, load_default=None)


class CreateVFolderBody(Body):
    """A request to create an empty vfolder."""

    makes = CreateVFolder
    volume = VolumeName()
    vfolder = VFolderField()
    mode = LooseInteger(
        allow_none=True,
        load_default=DEFAULT_MODE,
        validate=validate.Range(min=0, max=MODE_MAX),
        metadata={"description": "Permission bits as a decimal number: 493 is rwxr-xr-x."},
    )
    options = fields.Nested(CreateOptions, allow_none=True, load_default=None)


class MountBody(Body):
    """A request for the path of a vfolder."""

    makes = MountVFolder
    volume = VolumeName()
    vfolder = VFolderField()
    subpath = PathField(key=None, load_default=lambda: VFolderPath(()))


class MountPath(ma.Schema):
    """The path at which agents find the vfolder."""

    path = fields.String(required=True)


class Done(ma.Schema):
    """Success."""

    status = fields.String(required=True, validate=validate.OneOf(["ok"]))


@dataclass(frozen=True, slots=True)
class StoreMetadata:
    """A request to store metadata of a vfolder."""

    volume: str
    vfolder: VFolderId
    payload: bytes


class _Base64(fields.Field[bytes]):
    """Bytes as RFC 4648 base64 text."""

    openapi: ClassVar[OpenApi] = {"type": ["string"], "contentEncoding": "base64"}

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bytes:  # noqa: ANN401 - marshmallow's hook
        if not isinstance(value, str):
            raise ma.ValidationError("Not a valid string.")
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            raise ma.ValidationError("Not base64 (RFC 4648).") from None


class StoreMetadataBody(Body):
    """A request to store metadata of a vfolder."""

    makes = StoreMetadata
    volume = VolumeName()
    vfolder = VFolderField()
    payload = _Base64(
        required=True,
        metadata={"description": "Up to 10 MiB, as base64 (RFC 4648)."},
    )


class Metadata(ma.Schema):
    """The stored metadata of a vfolder."""

    status = fields.String(required=True, validate=validate.OneOf(["ok"]))
    payload = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Base64 (RFC 4648); null when nothing was stored."},
    )


class UsedBytesAnswer(ma.Schema):
    """The space that a vfolder takes on the storage."""

    used_bytes = fields.Integer(required=True)
    as_of = fields.DateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When the figures were counted; null without a real volume."},
    )


class UsageAnswer(UsedBytesAnswer):
    """The number of entries and bytes of a vfolder."""

    file_count = fields.Integer(
        required=True,
        metadata={
            "description": "All entries below the root; a file with several hard links counts once."
        },
    )
