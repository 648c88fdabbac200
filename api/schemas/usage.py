"""How much vfolders hold."""

import marshmallow as ma
from marshmallow import fields


class UsedBytesAnswer(ma.Schema):
    """What a vfolder takes on the storage; null while nobody knows."""

    used_bytes = fields.Integer(required=True, allow_none=True)
    as_of = fields.DateTime(
        required=True,
        allow_none=True,
        metadata={"description": "The moment the figures are of."},
    )
    bgtask_id = fields.String(metadata={"description": "The job that counts (202 only)."})


class UsageAnswer(UsedBytesAnswer):
    """What a vfolder holds; null while nobody knows."""

    file_count = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "All entries, directories and links too, without the root."},
    )
