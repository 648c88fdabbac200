"""What the trash of a quota scope holds."""

import marshmallow as ma
from marshmallow import fields


class TrashedVFolder(ma.Schema):
    """A deleted vfolder that is kept."""

    id = fields.String(metadata={"description": "The job that deleted it."})
    vfolder = fields.String()
    deleted_at = fields.DateTime()
    expires_at = fields.DateTime(metadata={"description": "From then on it may be purged."})
    size_bytes = fields.Integer(allow_none=True)
    entries = fields.Integer(allow_none=True)
    restorable = fields.Boolean(metadata={"description": "False once its purge began."})


class TrashList(ma.Schema):
    """The trash of one quota scope."""

    trash = fields.List(fields.Nested(TrashedVFolder))
    size_bytes = fields.Integer(metadata={"description": "The files of all of them."})
    entries = fields.Integer()
