"""Volumes: what they are, how full, how fast, how healthy."""

from dataclasses import dataclass

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from api.schemas.fields import SizeField, VFolderField, VolumeName
from backends.base import HardwareStatus
from core.names import VFolderId


@dataclass(frozen=True, slots=True)
class OneVolume:
    """Names a volume."""

    volume: str


class VolumeBody(Body):
    """Names a volume."""

    makes = OneVolume
    volume = VolumeName()


class Volume(ma.Schema):
    """A configured place to keep data."""

    name = fields.String(required=True)
    backend = fields.String(required=True)
    path = fields.String(required=True, metadata={"description": "Where it is mounted."})
    fsprefix = fields.String(required=True)
    capabilities = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "Its skills, as far as they were proved: `vfolder`, `quota`, `metric`, "
            "`fast-fs-size`, `fast-scan` and `fast-size` as managers know them; and `snapshot`, "
            "`reflink` (a clone within the volume copies no bytes), `instant-clone` (it takes no "
            "longer for a bigger vfolder)."
        },
    )


class VolumeList(ma.Schema):
    """All volumes of this node."""

    volumes = fields.List(fields.Nested(Volume), required=True)


class Hardware(ma.Schema):
    """What the storage system says of its own health."""

    status = fields.String(
        required=True,
        validate=validate.OneOf([str(status) for status in HardwareStatus]),
    )
    status_info = fields.String(required=True, allow_none=True)
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


class PerformanceRates(ma.Schema):
    """PerformanceRates per second and microseconds per operation."""

    iops_read = fields.Integer(required=True)
    iops_write = fields.Integer(required=True)
    io_bytes_read = fields.Integer(required=True)
    io_bytes_write = fields.Integer(required=True)
    io_usec_read = fields.Float(required=True)
    io_usec_write = fields.Float(required=True)


class Performance(ma.Schema):
    """How fast a volume is right now."""

    metric = fields.Nested(PerformanceRates, required=True)
    observed_at = fields.DateTime(required=True)


class FileSystemUsage(ma.Schema):
    """How full a volume is, counted as df does."""

    capacity_bytes = fields.Integer(required=True, allow_none=True)
    used_bytes = fields.Integer(required=True, allow_none=True)


@dataclass(frozen=True, slots=True)
class OldQuota:
    """Asks for what quota scopes do now."""

    volume: str
    vfolder: VFolderId | None
    size_bytes: int | None = None


class OldQuotaBody(Body):
    """Asks for what quota scopes do now."""

    makes = OldQuota
    volume = VolumeName()
    vfolder = VFolderField(allow_none=True)


class SetOldQuotaBody(OldQuotaBody):
    """Asks for what quota scopes do now."""

    size_bytes = SizeField(required=True)
