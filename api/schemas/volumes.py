"""Volumes: properties, usage, performance, health."""

from dataclasses import dataclass

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.bodies import Body
from api.schemas.fields import SizeField, VFolderField, VolumeName
from backends.base import HardwareStatus
from core.names import VFolderId


@dataclass(frozen=True, slots=True)
class OneVolume:
    """A volume."""

    volume: str


class VolumeBody(Body):
    """A volume."""

    makes = OneVolume
    volume = VolumeName()


class Volume(ma.Schema):
    """A configured storage volume."""

    name = fields.String(required=True)
    backend = fields.String(required=True)
    path = fields.String(required=True, metadata={"description": "The mount point."})
    fsprefix = fields.String(required=True)
    capabilities = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "Its capabilities, as far as they were proved. Managers know `vfolder`, "
            "`quota`, `metric`, `fast-fs-size`, `fast-scan` and `fast-size`. Further ones: "
            "`snapshot`, `reflink` (a clone within the volume copies no bytes), `instant-clone` "
            "(a clone of a bigger vfolder takes no longer)."
        },
    )


class VolumeList(ma.Schema):
    """All volumes of this node."""

    volumes = fields.List(fields.Nested(Volume), required=True)


class Hardware(ma.Schema):
    """The health that the storage system reports."""

    status = fields.String(
        required=True,
        validate=validate.OneOf([str(status) for status in HardwareStatus]),
    )
    status_info = fields.String(required=True, allow_none=True)
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


class PerformanceRates(ma.Schema):
    """Operations and bytes per second, and microseconds per operation."""

    iops_read = fields.Integer(required=True)
    iops_write = fields.Integer(required=True)
    io_bytes_read = fields.Integer(required=True)
    io_bytes_write = fields.Integer(required=True)
    io_usec_read = fields.Float(required=True)
    io_usec_write = fields.Float(required=True)


class Performance(ma.Schema):
    """The current performance of a volume."""

    metric = fields.Nested(PerformanceRates, required=True)
    observed_at = fields.DateTime(required=True)


class FileSystemUsage(ma.Schema):
    """The capacity and usage of a volume, counted as df does."""

    capacity_bytes = fields.Integer(required=True)
    used_bytes = fields.Integer(required=True)


@dataclass(frozen=True, slots=True)
class OldQuota:
    """A request of the older quota routes, which quota scopes replaced."""

    volume: str
    vfolder: VFolderId | None
    size_bytes: int | None = None


class OldQuotaBody(Body):
    """A request of the older quota routes, which quota scopes replaced."""

    makes = OldQuota
    volume = VolumeName()
    vfolder = VFolderField(allow_none=True)


class SetOldQuotaBody(OldQuotaBody):
    """A request of the older quota routes, which quota scopes replaced."""

    size_bytes = SizeField(required=True)
