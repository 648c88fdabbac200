"""What the verbs take that keep a volume in order."""

import marshmallow as ma
from marshmallow import fields, validate

from api.schemas.fields import ScopeField, VFolderField
from api.schemas.job_body import JobBody
from backends.retention import NAME_MAX, check_name
from core.errors import InvalidName
from core.jobs.requests import KEEP_MAX_SECONDS

_JOB_ID = validate.Regexp(r"^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$")


def _name(text: str) -> None:
    try:
        check_name(text)
    except InvalidName as error:
        raise ma.ValidationError(error.detail) from None


class RestoreBody(JobBody):
    """Bring a deleted vfolder back from the trash."""

    vfolder = VFolderField("vfolder")
    trash = fields.String(
        load_default=None,
        allow_none=True,
        validate=_JOB_ID,
        metadata={"description": "The job that deleted it; the last one when absent."},
    )


class PurgeBody(JobBody):
    """Remove the bytes of a deleted vfolder for good."""

    vfolder = VFolderField("vfolder")
    trash = fields.String(
        required=True,
        validate=_JOB_ID,
        metadata={"description": "The job that deleted it."},
    )


class RescanBody(JobBody):
    """Count what the quota scopes of a volume really hold, and tell what is odd."""

    owner = ScopeField("owner", optional=True)
    repair = fields.Boolean(
        load_default=False,
        truthy={True},
        falsy={False},
        metadata={"description": "Put right what can be; else it is only told."},
    )


class AdoptBody(JobBody):
    """Put all that a quota scope holds under a limit, whoever made it."""

    owner = ScopeField("owner")
    limit_bytes = fields.Integer(
        required=True,
        strict=True,
        validate=validate.Range(1, 2**63 - 1),
        metadata={"description": "The limit, in bytes."},
    )


class SnapshotBody(JobBody):
    """Keep a vfolder as it is now, tell what is kept, let go of one, or make a vfolder of one."""

    vfolder = VFolderField("vfolder")
    action = fields.String(
        required=True, validate=validate.OneOf(["create", "list", "delete", "restore"])
    )
    name = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.And(validate.Length(1, NAME_MAX), _name),
        metadata={"description": "The snapshot, for every act but `list`."},
    )
    keep_seconds = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, KEEP_MAX_SECONDS, min_inclusive=False),
        metadata={"description": "`create`: how long; until it is deleted when absent."},
    )
    target = VFolderField("target", optional=True)
