"""What each verb takes, beside what every job does."""

from marshmallow import fields, validate

from api.schemas.fields import PathField, VFolderField
from api.schemas.job_body import JobBody
from api.schemas.transfers import TransferBody
from api.schemas.upkeep_verbs import AdoptBody, PurgeBody, RescanBody, RestoreBody, SnapshotBody
from core.jobs import requests


class CloneBody(JobBody):
    """Make `target` a copy of `source`; the target must not exist."""

    source = VFolderField("source")
    target = VFolderField("target")
    target_volume = fields.String(
        load_default=None,
        allow_none=True,
        metadata={"description": "Volume of the target; the same volume when absent."},
    )
    verify = fields.String(
        load_default="size", validate=validate.OneOf(["none", "size", "checksum"])
    )


class DeleteBody(JobBody):
    """Take a vfolder away: gone at once, its bytes removed afterwards."""

    vfolder = VFolderField("vfolder")
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, requests.KEEP_MAX_SECONDS),
        metadata={
            "description": "How long it can be restored; as configured when absent, 0 not at all.",
        },
    )


class DeleteFilesBody(JobBody):
    """Remove entries of a vfolder; absent ones are skipped."""

    vfolder = VFolderField("vfolder")
    paths = fields.List(
        PathField(key=None),
        required=True,
        validate=validate.Length(1, requests.PATHS_MAX),
        metadata={"description": "Paths relative to the vfolder."},
    )
    recursive = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class ExtractBody(JobBody):
    """Unpack an archive that is in a vfolder; its directory appears whole or not at all."""

    vfolder = VFolderField("vfolder")
    source = PathField("source")
    target = PathField("target")
    archive = fields.String(required=True, validate=validate.OneOf(["tar", "zip"]))


class UsageBody(JobBody):
    """Count what a vfolder holds."""

    vfolder = VFolderField("vfolder")


VERB_BODIES: dict[str, type[JobBody]] = {
    "clone": CloneBody,
    "delete": DeleteBody,
    "delete-files": DeleteFilesBody,
    "extract": ExtractBody,
    "transfer": TransferBody,
    "usage": UsageBody,
    "restore": RestoreBody,
    "purge": PurgeBody,
    "rescan": RescanBody,
    "adopt": AdoptBody,
    "snapshot": SnapshotBody,
}
