"""VFolders as a whole."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from api.schemas.fields import OpenApi, PathField, VFolderField, VolumeName, WholeNumber
from backends.base import DEFAULT_MODE
from core.names import VFolderId, VFolderPath

#: Permission bits, with set-group-id and sticky: what chmod(2) takes.
MODE_MAX = 0o7777


@dataclass(frozen=True, slots=True)
class VFolderOfRequest:
    """Names a vfolder on a volume."""

    volume: str
    vfolder: VFolderId


@dataclass(frozen=True, slots=True)
class CreateVFolder:
    """Asks for an empty vfolder."""

    volume: str
    vfolder: VFolderId
    mode: int | None
    options: Mapping[str, Any] | None

    @property
    def initial_limit_bytes(self) -> int | None:
        """The limit of the quota scope, if the scope has to be made for this vfolder."""
        found = (self.options or {}).get("initial_max_size_for_quota_scope")
        return int(found) if found else None


@dataclass(frozen=True, slots=True)
class MountVFolder:
    """Asks where a vfolder lies."""

    volume: str
    vfolder: VFolderId
    subpath: VFolderPath


class VFolderBody(Body):
    """Names a vfolder on a volume."""

    makes = VFolderOfRequest
    volume = VolumeName()
    vfolder = VFolderField()


class CreateOptions(ma.Schema):
    """What a new quota scope starts with; other keys are ignored."""

    class Meta:
        """Options are for other backends too."""

        unknown = ma.EXCLUDE

    initial_max_size_for_quota_scope = WholeNumber(allow_none=True, load_default=None)


class CreateVFolderBody(Body):
    """Asks for an empty vfolder."""

    makes = CreateVFolder
    volume = VolumeName()
    vfolder = VFolderField()
    mode = WholeNumber(
        allow_none=True,
        load_default=DEFAULT_MODE,
        validate=validate.Range(min=0, max=MODE_MAX),
        metadata={"description": "Permission bits as a decimal number: 493 is rwxr-xr-x."},
    )
    options = fields.Nested(CreateOptions, allow_none=True, load_default=None)


class MountBody(Body):
    """Asks where a vfolder lies."""

    makes = MountVFolder
    volume = VolumeName()
    vfolder = VFolderField()
    subpath = PathField(key=None, load_default=lambda: VFolderPath(()))


class MountPath(ma.Schema):
    """Where agents find the vfolder."""

    path = fields.String(required=True)


class Done(ma.Schema):
    """It is done."""

    status = fields.String(required=True, validate=validate.OneOf(["ok"]))


@dataclass(frozen=True, slots=True)
class StoreMetadata:
    """Asks to keep something about a vfolder."""

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
    """Asks to keep something about a vfolder."""

    makes = StoreMetadata
    volume = VolumeName()
    vfolder = VFolderField()
    payload = _Base64(
        required=True,
        metadata={"description": "Up to 10 MiB, as base64 (RFC 4648)."},
    )


class Metadata(ma.Schema):
    """What was stored about a vfolder."""

    status = fields.String(required=True, validate=validate.OneOf(["ok"]))
    payload = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "As base64 (RFC 4648); null when nothing was stored."},
    )
