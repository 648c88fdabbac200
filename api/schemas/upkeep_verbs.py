"""What the verbs take that keep a volume in order."""

from marshmallow import fields, validate

from api.schemas.fields import ScopeField, VFolderField
from api.schemas.job_body import JobBody

_JOB_ID = validate.Regexp(r"^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$")


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
